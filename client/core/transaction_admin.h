// Transactions as an administrator sees them, whoever's they are: which there are, what of one is
// open, and aborting that. What a producer does with its own is in transactions.h.
//
// Free functions on a Client, on its executor. Each calls `done` within `timeout`; the client
// outlives the call, or `done` is not called.
//
//   DescribeTransaction(client, request, timeout,
//                       [](Result<v1::DescribeTransactionResponse> described) { ... });
#pragma once

#include "client/core/client.h"
#include "millrace/v1/transaction_service.pb.h"
#include "proto/base/status.h"

namespace millrace::client {

// Asks for page after page.
void ListTransactions(Client& client, const v1::ListTransactionsRequest& request, Duration timeout,
                      ResponseDone<v1::ListTransactionsResponse> done);
void DescribeTransaction(Client& client, const v1::DescribeTransactionRequest& request,
                         Duration timeout, ResponseDone<v1::DescribeTransactionResponse> done);
// Ok also where a try of this call aborted it whose answer was lost, unless its producer has ended
// a later one by then: ABORTED (TRANSACTION_ENDED) without an outcome.
void AbortTransaction(Client& client, const v1::AbortTransactionRequest& request, Duration timeout,
                      ResponseDone<v1::AbortTransactionResponse> done);

}  // namespace millrace::client

// What the coordinator says of transactions, in the words of the public messages.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(v1::DescribeTransactionResponse response, ToPublic(reply, view));
#pragma once

#include "broker/routing/cluster_view.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "millrace/v1/transaction_service.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

// INVALID_ARGUMENT for a result that is none.
Result<internal::v1::EndTransactionRequest> ToInternal(const v1::EndTransactionRequest& request);
internal::v1::AbortTransactionRequest ToInternal(const v1::AbortTransactionRequest& request);
internal::v1::ListTransactionsRequest ToInternal(const v1::ListTransactionsRequest& request);
v1::ListTransactionsResponse ToPublic(const internal::v1::ListTransactionsReply& reply);
v1::DescribeTransactionResponse ToPublic(const internal::v1::DescribeTransactionReply& reply,
                                         const ClusterView& view);

}  // namespace millrace::broker

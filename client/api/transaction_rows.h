// What brokers told of transactions, as the public library's rows, and what a program asks for, as
// brokers take it.
//
// Pure; any thread.
//
//   return internal::ListingsOf(response);
#pragma once

#include <string>
#include <vector>

#include "client/core/range_survey.h"
#include "client/core/transaction_admin.h"
#include "millrace/transactions.h"
#include "proto/base/status.h"

namespace millrace::internal {

// INVALID_ARGUMENT for a state that is none.
Result<v1::ListTransactionsRequest> RequestOf(const TransactionQuery& query);
// By transactional id.
std::vector<TransactionListing> ListingsOf(const v1::ListTransactionsResponse& listed);
TransactionDescription DescriptionOf(const std::string& transactional_id,
                                     const v1::DescribeTransactionResponse& described);
v1::AbortTransactionRequest RequestOf(const TransactionName& name);

// Those whose topic is known.
client::PartitionsByTopic PartitionsOf(const TransactionDescription& transaction);
// A row for each of the transaction's partitions, sorted by topic and partition. Pre: `ranges` is
// of all of PartitionsOf.
std::vector<TransactionOffset> OffsetRowsOf(const TransactionDescription& transaction,
                                            const client::RangesByTopic& ranges);

}  // namespace millrace::internal

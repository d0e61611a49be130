// What tools are told of transactions, from a shard's state.
//
// Pure; any thread.
//
//   RETURN_IF_ERROR(AnswerListTransactions(state, request, &reply));
#pragma once

#include "broker/coordinator/shard_state.h"
#include "broker/coordinator/transactional_id.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

internal::v1::TransactionState StateOf(const TransactionalId& id);

// A page of the transactional ids of the shard that the token names (ToPageToken of GroupsToken);
// where it has no more, without a token. INVALID_ARGUMENT for a page token that is none.
Status AnswerListTransactions(const ShardState& state,
                              const internal::v1::ListTransactionsRequest& request,
                              internal::v1::ListTransactionsReply* reply);
// NOT_FOUND (UNKNOWN_TRANSACTIONAL_ID).
Status AnswerDescribeTransaction(const ShardState& state,
                                 const internal::v1::DescribeTransactionRequest& request,
                                 internal::v1::DescribeTransactionReply* reply);

}  // namespace millrace::broker

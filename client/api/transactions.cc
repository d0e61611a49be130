#include "millrace/transactions.h"

#include <utility>

#include "client/api/runtime.h"
#include "client/api/transaction_rows.h"
#include "client/core/transaction_admin.h"

namespace millrace {

Transactions::Transactions(std::shared_ptr<internal::Runtime> runtime)
    : runtime_(std::move(runtime)) {}
Transactions::~Transactions() = default;

Result<std::vector<TransactionListing>> Transactions::ListTransactions(
    const TransactionQuery& query, std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::ListTransactionsRequest request, internal::RequestOf(query));
  ASSIGN_OR_RETURN(const v1::ListTransactionsResponse response,
                   runtime_->Await<v1::ListTransactionsResponse>([&](auto done) {
                     client::ListTransactions(runtime_->client(), request,
                                              internal::Bounded(timeout), std::move(done));
                   }));
  return internal::ListingsOf(response);
}

Result<TransactionDescription> Transactions::DescribeTransaction(
    const std::string& transactional_id, std::chrono::milliseconds timeout) {
  v1::DescribeTransactionRequest request;
  request.set_transactional_id(transactional_id);
  ASSIGN_OR_RETURN(const v1::DescribeTransactionResponse response,
                   runtime_->Await<v1::DescribeTransactionResponse>([&](auto done) {
                     client::DescribeTransaction(runtime_->client(), request,
                                                 internal::Bounded(timeout), std::move(done));
                   }));
  return internal::DescriptionOf(transactional_id, response);
}

Result<std::vector<TransactionOffset>> Transactions::DescribeOffsets(
    const TransactionDescription& transaction, std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const client::RangesByTopic ranges,
                   runtime_->Await<client::RangesByTopic>([&](auto done) {
                     client::SurveyRanges(runtime_->client(), internal::PartitionsOf(transaction),
                                          internal::Bounded(timeout), std::move(done));
                   }));
  return internal::OffsetRowsOf(transaction, ranges);
}

Status Transactions::AbortTransaction(const TransactionName& name,
                                      std::chrono::milliseconds timeout) {
  return runtime_
      ->Await<v1::AbortTransactionResponse>([&](auto done) {
        client::AbortTransaction(runtime_->client(), internal::RequestOf(name),
                                 internal::Bounded(timeout), std::move(done));
      })
      .status();
}

}  // namespace millrace

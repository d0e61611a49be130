#include "client/core/transaction_admin.h"

#include <utility>

#include "client/core/calls.h"

namespace millrace::client {

void ListTransactions(Client& client, const v1::ListTransactionsRequest& request, Duration timeout,
                      ResponseDone<v1::ListTransactionsResponse> done) {
  InvokePages<v1::ListTransactionsResponse>(client,
                                            "/millrace.v1.TransactionService/ListTransactions",
                                            request, timeout, std::move(done));
}

void DescribeTransaction(Client& client, const v1::DescribeTransactionRequest& request,
                         Duration timeout, ResponseDone<v1::DescribeTransactionResponse> done) {
  Invoke<v1::DescribeTransactionResponse>(client,
                                          {"/millrace.v1.TransactionService/DescribeTransaction"},
                                          request, timeout, std::move(done));
}

void AbortTransaction(Client& client, const v1::AbortTransactionRequest& request, Duration timeout,
                      ResponseDone<v1::AbortTransactionResponse> done) {
  Invoke<v1::AbortTransactionResponse>(
      client, {"/millrace.v1.TransactionService/AbortTransaction", Client::CallKind::kChange},
      request, timeout, std::move(done));
}

}  // namespace millrace::client

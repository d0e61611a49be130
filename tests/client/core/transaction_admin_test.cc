// What an administrator asks of transactions: lists in pages, and that an abort names one.

#include "client/core/transaction_admin.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/client/core/unary_broker.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(5);
constexpr Duration kTimeMax = std::chrono::seconds(20);

class TransactionAdminTest : public testing::Test {
 protected:
  // What `start` is answered with.
  template <typename Response>
  Result<Response> Ask(const std::function<void(Client&, ResponseDone<Response>)>& start) {
    Client client({process_.executor(), process_.clock(), broker_, process_.Fork()},
                  {.bootstrap = {"broker"}});
    std::optional<Result<Response>> told;
    start(client, [&](Result<Response> response) { told = std::move(response); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, kTimeMax));
    return *std::move(told);
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  MethodBrokers broker_{process_.executor()};
};

TEST_F(TransactionAdminTest, AllPages_ArePutTogether_OfWhatWasAskedFor_AnEmptyOneToo) {
  std::vector<std::string> tokens;
  broker_.On<v1::ListTransactionsRequest, v1::ListTransactionsResponse>(
      "/millrace.v1.TransactionService/ListTransactions",
      [&](const v1::ListTransactionsRequest& request) -> Result<v1::ListTransactionsResponse> {
        EXPECT_EQ(request.prefix(), "bill");
        EXPECT_EQ(request.states_size(), 1);
        EXPECT_EQ(request.states(0), v1::TRANSACTION_STATE_ONGOING);
        tokens.push_back(request.page_token());
        v1::ListTransactionsResponse page;
        if (tokens.size() != 2)
          page.add_transactions()->set_transactional_id("bill" + tokens.back());
        if (tokens.size() < 3) page.set_next_page_token(std::to_string(tokens.size()));
        return page;
      });
  v1::ListTransactionsRequest request;
  request.set_prefix("bill");
  request.add_states(v1::TRANSACTION_STATE_ONGOING);
  const auto listed = Ask<v1::ListTransactionsResponse>([&](Client& client, auto done) {
    ListTransactions(client, request, kTimeout, std::move(done));
  });
  ASSERT_TRUE(listed.ok()) << listed.status();
  EXPECT_EQ(tokens, (std::vector<std::string>{"", "1", "2"}));
  ASSERT_EQ(listed->transactions_size(), 2);
  EXPECT_EQ(listed->transactions(1).transactional_id(), "bill2");
  EXPECT_EQ(listed->next_page_token(), "");
}

TEST_F(TransactionAdminTest, APageThatIsRefused_IsTheAnswer) {
  broker_.On<v1::ListTransactionsRequest, v1::ListTransactionsResponse>(
      "/millrace.v1.TransactionService/ListTransactions",
      [&](const v1::ListTransactionsRequest& request) -> Result<v1::ListTransactionsResponse> {
        if (!request.page_token().empty()) return InvalidArgument("no such page");
        v1::ListTransactionsResponse page;
        page.set_next_page_token("x");
        return page;
      });
  const auto listed = Ask<v1::ListTransactionsResponse>(
      [](Client& client, auto done) { ListTransactions(client, {}, kTimeout, std::move(done)); });
  EXPECT_EQ(listed.status().message(), "no such page");
}

TEST_F(TransactionAdminTest, AnAbortWhoseAnswerIsLost_IsAskedForAgain_ByTheSameName) {
  int asked = 0;
  broker_.On<v1::AbortTransactionRequest, v1::AbortTransactionResponse>(
      "/millrace.v1.TransactionService/AbortTransaction",
      [&](const v1::AbortTransactionRequest& request) -> Result<v1::AbortTransactionResponse> {
        EXPECT_EQ(request.transactional_id(), "orders");
        EXPECT_EQ(request.producer_id(), 1025u);
        EXPECT_EQ(request.producer_epoch(), 3u);
        EXPECT_EQ(request.transaction_number(), 7u);
        if (++asked == 1) return Unavailable("it is gone");
        return v1::AbortTransactionResponse();
      });
  v1::AbortTransactionRequest request;
  request.set_transactional_id("orders");
  request.set_producer_id(1025);
  request.set_producer_epoch(3);
  request.set_transaction_number(7);
  const auto aborted = Ask<v1::AbortTransactionResponse>([&](Client& client, auto done) {
    AbortTransaction(client, request, kTimeout, std::move(done));
  });
  EXPECT_TRUE(aborted.ok()) << aborted.status();
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace millrace::client

// Decisions about transactions: scripts, and what a script says badly.
#include "broker/coordinator/transaction_requests.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/transaction_description.h"
#include "proto/base/mutants.h"
#include "tests/broker/coordinator/transaction_lab.h"
#include "tests/broker/coordinator/transaction_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecords;
using Next = TransactionDecision::Next;

const std::filesystem::path kScenarios =
    std::filesystem::path(MILLRACE_SOURCE_DIR) / "tests/broker/coordinator/transaction_scenarios";

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(kScenarios)) {
    names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class TransactionScenario : public testing::TestWithParam<std::string> {};

// A script begins anew with `id`.
TEST_P(TransactionScenario, PrintsWhatTheScriptSays) {
  TransactionLab lab;
  raft::core::RunScript(kScenarios / (GetParam() + ".txt"),
                        [&lab](const raft::core::Command& command) {
                          if (command.name() == "id") lab = TransactionLab();
                          return command.name() == "id" ? "" : lab.Run(command);
                        });
}

INSTANTIATE_TEST_SUITE_P(Scripts, TransactionScenario, testing::ValuesIn(Scenarios()),
                         [](const auto& script) { return script.param; });

// A shard's state on which decisions are made and applied at once.
class TransactionRequestsTest : public testing::Test {
 protected:
  void TearDown() override { active_mutant = Mutant::kNone; }

  void Apply(const CoordinatorRecords& records) {
    last_ = last_ + 1;
    for (const auto& record : records.records()) {
      const Status applied = state_.Apply(record, {.index = last_, .time_ms = 100});
      ASSERT_TRUE(applied.ok()) << applied;
    }
  }
  TransactionDecision Done(TransactionDecision decided) {
    Apply(decided.records);
    return decided;
  }
  void Begin(const std::string& id, uint64_t block = 1) {
    Done(DecideInit(state_, now_, InitOf(id, 1), {.offered = ProducerOf(id, block)}));
  }
  Status Register(const TransactionName& name, const std::vector<uint64_t>& groups) {
    return Done(DecideRegister(state_, now_, RegisterOf(name, groups))).status;
  }
  const TransactionalId& Id(const std::string& id) { return *state_.transactions().Find(id); }

  Image image_;
  CoordinatorCircumstances now_{.image = image_};
  ShardState state_;
  LogIndex last_;
};

std::vector<uint64_t> Groups(uint64_t first, uint64_t count) {
  std::vector<uint64_t> groups;
  for (uint64_t i = 0; i < count; ++i) groups.push_back(first + i);
  return groups;
}

// Rule 82: "At most 10,000 participants; then RESOURCE_EXHAUSTED and it can only be aborted."
TEST_F(TransactionRequestsTest, Rule82_OneOfTooManyPartitions_CanOnlyBeAborted) {
  Begin("a");
  const TransactionName one = TransactionOf("a", 1, 1);
  EXPECT_TRUE(Register(one, Groups(1, 9'999)).ok());
  EXPECT_TRUE(Register(one, Groups(9'999, 2)).ok()) << "with what it had, 10,000";
  EXPECT_EQ(Register(one, {77'777}).code(), Code::kResourceExhausted);
  EXPECT_EQ(Id("a").ongoing->participants.size(), 10'000U);
  EXPECT_EQ(Register(one, {77'777}).code(), Code::kResourceExhausted);
  EXPECT_TRUE(Register(one, {5}).ok()) << "it took part before";
  EXPECT_EQ(Done(DecideEnd(state_, EndOf("a", one, kCommit))).status.code(),
            Code::kResourceExhausted);
  EXPECT_TRUE(Id("a").ongoing.has_value());
  EXPECT_TRUE(Done(DecideEnd(state_, EndOf("a", one, kAbort))).status.ok());
  EXPECT_EQ(Id("a").completing->participants.size(), 10'000U);
}

// Nobody has to be told of one that nobody took part in.
TEST_F(TransactionRequestsTest, Rule82_OneThatBeginsWithTooManyPartitions_EndsAtOnce) {
  Begin("a");
  const TransactionName one = TransactionOf("a", 1, 1);
  EXPECT_EQ(Register(one, Groups(1, 10'001)).code(), Code::kResourceExhausted);
  EXPECT_TRUE(Id("a").ongoing.has_value());
  EXPECT_TRUE(Done(DecideEnd(state_, EndOf("a", one, kAbort))).status.ok());
  EXPECT_TRUE(Id("a").is_idle());
}

TEST_F(TransactionRequestsTest, WhereMemoryIsFull_NothingNewTakesPart_AndWhatIsOpenEnds) {
  Begin("a");
  const TransactionName one = TransactionOf("a", 1, 1);
  ASSERT_TRUE(Register(one, {5}).ok());
  now_.is_memory_full = true;
  EXPECT_EQ(Register(one, {6}).code(), Code::kResourceExhausted);
  EXPECT_TRUE(Register(one, {5}).ok());
  EXPECT_TRUE(DecideEnd(state_, EndOf("a", one, kCommit)).status.ok());
}

// The variant end_without_number: rule 58 is what it breaks.
TEST_F(TransactionRequestsTest, Rule58_AnEndThatNamesNoNumber_EndsWhatIsOpen) {
  Begin("a");
  ASSERT_TRUE(Register(TransactionOf("a", 1, 1), {5}).ok());
  Done(DecideEnd(state_, EndOf("a", TransactionOf("a", 1, 1), kCommit)));
  ASSERT_TRUE(Register(TransactionOf("a", 1, 2), {5}).ok());
  Apply(*DecideEnded(state_, ToldOf("a", TransactionOf("a", 1, 1), {5})));
  const auto late = EndOf("a", TransactionOf("a", 1, 1), kCommit);
  EXPECT_TRUE(DecideEnd(state_, late).records.records().empty());
  active_mutant = Mutant::kEndWithoutNumber;
  EXPECT_FALSE(DecideEnd(state_, late).records.records().empty())
      << "the broken variant commits the next one";
}

TEST_F(TransactionRequestsTest, ItIsToldWhy_AsFarAsItIsKnown) {
  Begin("a");
  ASSERT_TRUE(Register(TransactionOf("a", 1, 1), {5}).ok());
  Apply(*DecideTimeLimit(state_, "a", TransactionOf("a", 1, 1)));
  const Status late = DecideEnd(state_, EndOf("a", TransactionOf("a", 1, 1), kCommit)).status;
  EXPECT_EQ(late.reason(), Reason::kTransactionEnded);
  EXPECT_EQ(late.metadata(), (Status::Metadata{{"outcome", "aborted"}, {"why", "time_limit"}}));
  Apply(*DecideEnded(state_, ToldOf("a", TransactionOf("a", 1, 1), {5})));
  Done(DecideEnd(state_, EndOf("a", TransactionOf("a", 1, 2), kCommit)));
  const Status older = DecideEnd(state_, EndOf("a", TransactionOf("a", 1, 1), kCommit)).status;
  EXPECT_EQ(older.reason(), Reason::kTransactionEnded);
  EXPECT_TRUE(older.metadata().empty());
}

TEST_F(TransactionRequestsTest, ATimeLimitOfAnother_OrAnIdThatWasUsed_ChangesNothing) {
  Begin("a");
  const TransactionName first = TransactionOf("a", 1, 1);
  EXPECT_TRUE(DecideTimeLimit(state_, "a", first)->records().empty());
  EXPECT_TRUE(DecideForget(state_, "a", 99)->records().empty());
  ASSERT_TRUE(Register(TransactionOf("a", 1, 1), {5}).ok());
  EXPECT_TRUE(DecideTimeLimit(state_, "a", TransactionOf("a", 1, 2))->records().empty());
  EXPECT_FALSE(DecideTimeLimit(state_, "a", first)->records().empty());
  EXPECT_TRUE(DecideForget(state_, "a", 100)->records().empty());
}

TEST_F(TransactionRequestsTest, RequestsThatSayTooLittle_AreRefused) {
  EXPECT_TRUE(CheckInit(InitOf("a", 1)).ok());
  EXPECT_TRUE(CheckInit(InitOf("a", 1, 1'000)).ok());
  EXPECT_TRUE(CheckInit(InitOf("a", 1, 900'000)).ok());
  EXPECT_FALSE(CheckInit(InitOf("a", 1, 999)).ok());
  EXPECT_FALSE(CheckInit(InitOf("a", 1, 900'001)).ok());
  EXPECT_FALSE(CheckInit(InitOf("a", 0)).ok());
  EXPECT_FALSE(CheckInit(InitOf("", 1)).ok());
  EXPECT_FALSE(CheckInit(InitOf("a\n", 1)).ok());
  const TransactionName one = TransactionOf("a", 1, 1);
  EXPECT_TRUE(CheckRegister(RegisterOf(one, {5})).ok());
  EXPECT_FALSE(CheckRegister(RegisterOf(one, {})).ok());
  for (const TransactionName& none : {TransactionOf("a", 0, 1), TransactionOf("a", 1, 0),
                                      TransactionName{.epoch = 1, .number = 1}}) {
    EXPECT_FALSE(CheckRegister(RegisterOf(none, {5})).ok());
    EXPECT_FALSE(CheckEnd(EndOf("a", none, kCommit)).ok());
    EXPECT_FALSE(CheckAbort(AbortOf("a", none)).ok());
  }
  EXPECT_TRUE(CheckEnd(EndOf("a", one, kAbort)).ok());
  EXPECT_FALSE(CheckEnd(EndOf("a", one, TransactionOutcome{})).ok());
  EXPECT_FALSE(CheckEnd(EndOf("", one, kAbort)).ok());
}

TEST_F(TransactionRequestsTest, AList_GoesOnBehindItsPages_AndNamesWhatIsAskedFor) {
  for (int i = 0; i < 50; ++i) {
    const std::string id = "id-" + std::to_string(i);
    Begin(id, static_cast<uint64_t>(1 + i));
    if (i % 5 != 0) continue;
    ASSERT_TRUE(Register(TransactionOf(id, 1, 1, 1 + static_cast<uint64_t>(i)), {5}).ok());
  }
  Begin("other", 99);
  internal::v1::ListTransactionsRequest request;
  request.set_prefix("id-");
  request.set_page_size(7);
  request.add_states(internal::v1::TRANSACTION_STATE_ONGOING);
  std::set<std::string> found;
  do {
    internal::v1::ListTransactionsReply reply;
    ASSERT_TRUE(AnswerListTransactions(state_, request, &reply).ok());
    EXPECT_LE(reply.transactions_size(), 7);
    for (const auto& one : reply.transactions()) {
      EXPECT_TRUE(found.insert(one.transactional_id()).second);
      EXPECT_EQ(one.transaction().number(), 1U);
      EXPECT_EQ(one.since_ms(), 100);
    }
    request.set_page_token(reply.next_page_token());
  } while (!request.page_token().empty());
  EXPECT_EQ(found.size(), 10U);
  request.set_page_token("x");
  internal::v1::ListTransactionsReply reply;
  EXPECT_EQ(AnswerListTransactions(state_, request, &reply).code(), Code::kInvalidArgument);
}

TEST_F(TransactionRequestsTest, ADescription_SaysWhatIsOpenAndWhoTakesPart) {
  Begin("a");
  ASSERT_TRUE(Register(TransactionOf("a", 1, 1), {5, 6}).ok());
  internal::v1::DescribeTransactionRequest request;
  request.set_transactional_id("a");
  const auto state = [&] {
    internal::v1::DescribeTransactionReply reply;
    EXPECT_TRUE(AnswerDescribeTransaction(state_, request, &reply).ok());
    return reply.state();
  };
  EXPECT_EQ(state(), internal::v1::TRANSACTION_STATE_ONGOING);
  Done(DecideEnd(state_, EndOf("a", TransactionOf("a", 1, 1), kCommit)));
  EXPECT_EQ(state(), internal::v1::TRANSACTION_STATE_COMMITTING);
  internal::v1::DescribeTransactionReply reply;
  ASSERT_TRUE(AnswerDescribeTransaction(state_, request, &reply).ok());
  EXPECT_EQ(reply.transactional_id().completing().participants_size(), 2);
  Apply(*DecideEnded(state_, ToldOf("a", TransactionOf("a", 1, 1), {5, 6})));
  EXPECT_EQ(state(), internal::v1::TRANSACTION_STATE_IDLE);
  ASSERT_TRUE(Register(TransactionOf("a", 1, 2), {5}).ok());
  Apply(*DecideTimeLimit(state_, "a", TransactionOf("a", 1, 2)));
  EXPECT_EQ(state(), internal::v1::TRANSACTION_STATE_ABORTING);
  request.set_transactional_id("nobody");
  EXPECT_EQ(AnswerDescribeTransaction(state_, request, &reply).reason(),
            Reason::kUnknownTransactionalId);
}

}  // namespace
}  // namespace millrace::broker

#include "client/api/group_consumer_handle.h"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/api/producer_handle.h"
#include "tests/client/api/scripted_broker.h"

namespace millrace::internal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A member of group "g" that reads topic "t". What happens to it, in the order in which the program
// learns of it.
class GroupConsumerHandleTest : public testing::Test {
 protected:
  void Open(GroupConsumerOptions options = {}) {
    options.topics = {"t"};
    const auto note = [this](std::string text, std::span<const AssignedPartition> partitions) {
      for (const AssignedPartition& one : partitions) text += " " + std::to_string(one.partition);
      told_.push_back(text);
    };
    options.on_assigned = [note](auto partitions) { note("assigned", partitions); };
    options.on_revoked = [this, note](auto partitions) {
      note("revoked", partitions);
      if (in_revoked_) in_revoked_();
    };
    options.on_lost = [note](auto partitions, const Status&) { note("lost", partitions); };
    Result<std::unique_ptr<GroupConsumerHandle>> handle =
        GroupConsumerHandle::Open(cluster_.runtime(), "g", options);
    ASSERT_TRUE(handle.ok()) << handle.status();
    reader_ = std::move(handle).value();
  }
  // Polls until there are records, and notes their values.
  void PollSome() {
    const size_t before = told_.size();
    while (told_.size() == before || !is_value_) {
      const Result<Records> records = reader_->Poll(10s);
      ASSERT_TRUE(records.ok()) << records.status();
      is_value_ = !records->empty();
      for (const ConsumedRecord& record : *records) {
        EXPECT_EQ(record.topic, "t");
        told_.emplace_back(*record.value);
      }
    }
    is_value_ = false;
  }
  // Polls until the program was told so.
  void PollUntilTold(const std::string& text) {
    while (told_.empty() || told_.back() != text) {
      const Result<Records> records = reader_->Poll(50ms);
      ASSERT_TRUE(records.ok()) << records.status();
    }
  }

  ScriptedCluster cluster_{3};
  std::vector<std::string> told_;
  std::function<void()> in_revoked_;
  bool is_value_ = false;
  std::unique_ptr<GroupConsumerHandle> reader_;
};

TEST_F(GroupConsumerHandleTest, Poll_TellsWhatIsAssigned_BeforeItsRecords) {
  cluster_.Store(1, BatchOf({"a", "b"}), 2);
  cluster_.Assign({1});
  Open();
  PollSome();
  EXPECT_THAT(told_, ElementsAre("assigned 1", "a", "b"));
  EXPECT_EQ(reader_->position("t", 1), 2);
  ASSERT_EQ(reader_->assignment().size(), 1u);
  EXPECT_EQ(reader_->assignment()[0].committed, 0);
  EXPECT_EQ(reader_->assignment()[0].fencing_token, 1u);
}

TEST_F(GroupConsumerHandleTest, Commit_TakesWhatPollGave_Once) {
  cluster_.Store(0, BatchOf({"a", "b"}), 2);
  cluster_.Store(1, BatchOf({"c"}), 1);
  cluster_.Assign({0, 1, 2});
  Open();
  while (told_.size() < 4) PollSome();
  EXPECT_TRUE(reader_->Commit(10s).ok());
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@2 1@1"));
  EXPECT_TRUE(reader_->Commit(10s).ok());
  EXPECT_EQ(cluster_.Heard().size(), 1u) << "there is nothing to commit";
}

TEST_F(GroupConsumerHandleTest, Commit_ThatIsRefused_SaysOfWhat_AndIsOpenYet) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  Open();
  PollSome();
  cluster_.RefuseCommits(Aborted("no", Reason::kMemberFenced));
  const Status refused = reader_->Commit(10s);
  EXPECT_EQ(refused.reason(), Reason::kMemberFenced);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("topic \"t\" partition 0"));
  cluster_.RefuseCommits({});
  EXPECT_TRUE(reader_->Commit(10s).ok());
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@1", "commit 0@1"));
}

TEST_F(GroupConsumerHandleTest, Commit_OfWhatItHasNot_IsNotFound) {
  cluster_.Assign({0});
  Open();
  PollUntilTold("assigned 0");
  EXPECT_EQ(reader_->Commit({{.topic = "t", .partition = 1, .offset = 5}}, 10s).code(),
            Code::kNotFound);
  EXPECT_EQ(reader_->Commit({{.topic = "t", .partition = 0, .offset = -1}}, 10s).code(),
            Code::kInvalidArgument);
  EXPECT_TRUE(reader_->Commit({{.topic = "t", .partition = 0, .offset = 5}}, 10s).ok());
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@5"));
}

TEST_F(GroupConsumerHandleTest, Rule36_AutomaticCommits_AreOfWhatWasGivenBeforeTheLastPoll) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  Open({.auto_commit_interval = 1ms});
  PollSome();
  cluster_.Store(0, BatchOf({"b"}), 1);
  PollSome();
  EXPECT_TRUE(cluster_.WaitUntilHeard("commit 0@1"));
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@1")) << "nobody knows that b is done";
  ASSERT_TRUE(reader_->Poll(1ms).ok());
  EXPECT_TRUE(cluster_.WaitUntilHeard("commit 0@2"));
}

TEST_F(GroupConsumerHandleTest, WhatIsRevoked_IsItsOwnUntilTheCallbackEnds) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0, 1});
  Open();
  PollSome();
  in_revoked_ = [&] {
    EXPECT_TRUE(reader_->Commit(10s).ok());
    EXPECT_EQ(reader_->Poll(1ms).status().code(), Code::kFailedPrecondition);
    EXPECT_EQ(reader_->Close(1ms).code(), Code::kFailedPrecondition);
  };
  cluster_.Assign({1}, {0});
  PollUntilTold("revoked 0");
  EXPECT_TRUE(cluster_.WaitUntilHeard("owns 1"));
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@1", "owns 1"));
  EXPECT_EQ(reader_->position("t", 0), std::nullopt);
}

TEST_F(GroupConsumerHandleTest, WhatIsRevokedWhileRecordsWait_IsDropped) {
  cluster_.Assign({0, 1});
  Open();
  PollUntilTold("assigned 0 1");
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Store(1, BatchOf({"b"}), 1);
  // Nothing is polled until then.
  ASSERT_TRUE(cluster_.WaitUntilSent(1));
  cluster_.Assign({1}, {0});
  cluster_.Settle();
  const size_t before = told_.size();
  while (told_.size() < before + 2) PollSome();
  EXPECT_THAT(told_, ElementsAre("assigned 0 1", "revoked 0", "b"));
}

TEST_F(GroupConsumerHandleTest, WhatIsLost_IsTold_AndWhatComesAgainBeginsAnew) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  Open();
  PollSome();
  cluster_.EndMembership(Aborted("fenced", Reason::kMemberFenced));
  PollUntilTold("lost 0");
  EXPECT_THAT(reader_->assignment(), IsEmpty());
  EXPECT_TRUE(reader_->Commit(10s).ok()) << "nothing is its own";
  cluster_.Assign({0}, {}, 2);
  PollSome();
  EXPECT_EQ(told_.back(), "a") << "it was not committed";
  EXPECT_EQ(reader_->assignment()[0].fencing_token, 2u);
}

TEST_F(GroupConsumerHandleTest, WhatTheGroupRefusesForGood_EveryPollTells) {
  cluster_.Assign({0});
  Open();
  PollUntilTold("assigned 0");
  cluster_.EndMembership(InvalidArgument("no such thing"));
  Result<Records> records = reader_->Poll(10s);
  while (records.ok()) records = reader_->Poll(10s);
  EXPECT_EQ(records.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(told_.back(), "lost 0");
  EXPECT_EQ(reader_->Poll(10s).status().code(), Code::kInvalidArgument);
}

TEST_F(GroupConsumerHandleTest, Close_TellsWhatIsGivenUp_AndLeaves) {
  cluster_.Assign({0, 2});
  Open();
  PollUntilTold("assigned 0 2");
  EXPECT_TRUE(reader_->Close(10s).ok());
  EXPECT_THAT(told_, ElementsAre("assigned 0 2", "revoked 0 2"));
  EXPECT_THAT(cluster_.Heard(), ElementsAre("leaves"));
  EXPECT_EQ(reader_->Poll(1ms).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(reader_->Commit(1ms).code(), Code::kFailedPrecondition);
  EXPECT_EQ(reader_->Seek("t", 0, Position::At(0)).code(), Code::kNotFound);
}

TEST_F(GroupConsumerHandleTest, Close_OfAStaticMember_SaysThatItWillBeBack) {
  cluster_.Assign({0});
  Open({.instance_id = "one"});
  PollUntilTold("assigned 0");
  reader_.reset();
  EXPECT_THAT(cluster_.Heard(), ElementsAre("leaves for a while"));
}

TEST_F(GroupConsumerHandleTest, Seek_ReadsFromThere_AndWhatItLeavesOutIsDone) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Store(0, BatchOf({"b"}), 1);
  cluster_.Assign({0});
  Open();
  PollUntilTold("assigned 0");
  ASSERT_TRUE(reader_->Seek("t", 0, Position::At(1)).ok());
  PollSome();
  EXPECT_EQ(told_.back(), "b");
  EXPECT_EQ(told_.size(), 2u);
  EXPECT_TRUE(reader_->Commit(10s).ok());
  EXPECT_THAT(cluster_.Heard(), ElementsAre("commit 0@2"));
}

// The program does not know yet that the partition was lost, and is its own again.
TEST_F(GroupConsumerHandleTest, SeekAndPause_OfAnAssignmentThatIsOver_TakeNothingFromTheNext) {
  cluster_.Assign({0});
  Open();
  PollUntilTold("assigned 0");
  cluster_.EndMembership(Aborted("fenced", Reason::kMemberFenced));
  cluster_.Assign({0}, {}, 2);
  ASSERT_TRUE(cluster_.WaitUntilJoined(2));
  cluster_.Settle();
  cluster_.Store(0, BatchOf({"a"}), 1);
  ASSERT_TRUE(cluster_.WaitUntilSent(1));
  ASSERT_TRUE(reader_->Seek("t", 0, Position::At(1)).ok());
  ASSERT_TRUE(reader_->Pause("t", 0).ok());
  cluster_.Store(0, BatchOf({"b"}), 1);
  while (told_.size() < 5) PollSome();
  EXPECT_THAT(told_, ElementsAre("assigned 0", "lost 0", "assigned 0", "a", "b"));
}

TEST_F(GroupConsumerHandleTest, Pause_GivesNothingOut_UntilResume) {
  cluster_.Assign({0, 1});
  Open();
  PollUntilTold("assigned 0 1");
  ASSERT_TRUE(reader_->Pause("t", 0).ok());
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Store(1, BatchOf({"b"}), 1);
  PollSome();
  EXPECT_EQ(told_.back(), "b");
  ASSERT_TRUE(reader_->Resume("t", 0).ok());
  PollSome();
  EXPECT_EQ(told_.back(), "a");
}

TEST_F(GroupConsumerHandleTest, ABatchThatCannotBeRead_IsAnErrorThatNamesItsPartition) {
  cluster_.Store(1, Bytes::Own("\x0a\x03xyz"), 1);
  cluster_.Assign({1});
  Open();
  Result<Records> records = reader_->Poll(10s);
  while (records.ok()) records = reader_->Poll(10s);
  EXPECT_EQ(records.status().code(), Code::kDataLoss);
  EXPECT_THAT(records.status().metadata(),
              testing::IsSupersetOf({std::pair<std::string, std::string>("topic", "t"),
                                     std::pair<std::string, std::string>("partition", "1")}));
}

// What is read, in transactions of a producer.
class ReadInTransactionsTest : public GroupConsumerHandleTest {
 protected:
  void OpenBoth(GroupConsumerOptions options = {}) {
    cluster_.AnswerAllFromNowOn();
    Open(std::move(options));
    OpenProducer(cluster_.runtime());
  }
  void OpenProducer(const std::shared_ptr<Runtime>& runtime) {
    ProducerOptions options;
    options.transactional_id = "loop";
    auto producer = ProducerHandle::Open(runtime, "t", options);
    ASSERT_TRUE(producer.ok()) << producer.status();
    producer_ = std::move(producer).value();
  }
  Status Commit() { return producer_->EndTransaction(true, 10s); }

  std::unique_ptr<ProducerHandle> producer_;
};

TEST_F(ReadInTransactionsTest, WhatPollGave_IsStagedWithTheTransaction_Once) {
  cluster_.Store(0, BatchOf({"a", "b"}), 2);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->Send({.value = "x"}, false, {}).ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  EXPECT_TRUE(Commit().ok());
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok()) << "nothing came since";
  EXPECT_TRUE(Commit().ok());
  EXPECT_THAT(cluster_.Ends(), ElementsAre("stage 0@2 in 1", "commit 1", "commit 2"));
  EXPECT_TRUE(cluster_.WaitUntilJoined(2)) << "it names the producer in its next stream";
}

TEST_F(ReadInTransactionsTest, WhatSeveralPollsGave_IsAllPartOfOneTransaction) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0, 1});
  OpenBoth();
  PollSome();
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  cluster_.Store(1, BatchOf({"b", "c"}), 2);
  PollSome();
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  EXPECT_TRUE(Commit().ok());
  EXPECT_THAT(cluster_.Ends(), ElementsAre("stage 0@1 1@2 in 1", "commit 1"));
}

TEST_F(ReadInTransactionsTest, WhatWasAborted_ComesAgainAfterRewind_AndNothingCountsBefore) {
  cluster_.Store(0, BatchOf({"a", "b"}), 2);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  cluster_.AnswerEnds(Aborted("it was open for too long", Reason::kTransactionEnded));
  EXPECT_EQ(Commit().reason(), Reason::kTransactionEnded);
  cluster_.AnswerEnds({});
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition);
  ASSERT_TRUE(producer_->EndTransaction(false, 10s).ok());
  ASSERT_TRUE(reader_->Rewind(10s).ok());
  EXPECT_EQ(reader_->position("t", 0), 0);
  told_.clear();
  PollSome();
  EXPECT_THAT(told_, ElementsAre("a", "b"));
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  EXPECT_TRUE(Commit().ok());
  EXPECT_EQ(cluster_.Ends().back().substr(0, 6), "commit");
}

// What was written for its records would count twice: whoever has it now reads them again.
TEST_F(ReadInTransactionsTest, APartitionThatIsGivenUpInTheMiddle_FailsTheTransaction) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  cluster_.Assign({}, {0});
  PollUntilTold("revoked 0");
  EXPECT_EQ(producer_->SendOffsets(*reader_).reason(), Reason::kMemberFenced);
  ASSERT_TRUE(producer_->EndTransaction(false, 10s).ok());
  ASSERT_TRUE(reader_->Rewind(10s).ok());
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  EXPECT_TRUE(producer_->SendOffsets(*reader_).ok());
}

// An abort is an abort, whether it had offsets or not: what was polled before it comes again.
TEST_F(ReadInTransactionsTest, WhatWasAbortedAfterARewind_NeedsAnotherOne) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(producer_->BeginTransaction().ok());
    if (round == 0) {
      ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
    }
    ASSERT_TRUE(producer_->EndTransaction(false, 10s).ok());
    ASSERT_TRUE(producer_->BeginTransaction().ok());
    EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition);
    ASSERT_TRUE(producer_->EndTransaction(false, 10s).ok());
    ASSERT_TRUE(reader_->Rewind(10s).ok());
    PollSome();
  }
}

TEST_F(ReadInTransactionsTest, ATransaction_HasOffsetsOfOneReader) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->SendOffsets(*reader_).ok());
  const std::unique_ptr<GroupConsumerHandle> first = std::move(reader_);
  Open();
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(Commit().ok());
}

TEST_F(ReadInTransactionsTest, Misuse_IsRefused) {
  cluster_.Assign({0});
  OpenBoth({.auto_commit_interval = 1s});
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition) << "none is open";
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition)
      << "it commits by itself";
  ASSERT_TRUE(reader_->Close(10s).ok());
  Open();
  ScriptedCluster other(1);
  other.AnswerAllFromNowOn();
  OpenProducer(other.runtime());
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition)
      << "they are of two clients";
  ASSERT_TRUE(producer_->EndTransaction(true, [](const Status&) {}).ok());
  producer_.reset();
}

TEST_F(ReadInTransactionsTest, WhileTheOneBeforeHasNotEnded_NothingThatWasReadIsPartOfTheNext) {
  cluster_.Store(0, BatchOf({"a"}), 1);
  cluster_.Assign({0});
  OpenBoth();
  PollSome();
  cluster_.DelayAnswers(300ms);
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  ASSERT_TRUE(producer_->EndTransaction(true, [](const Status&) {}).ok());
  ASSERT_TRUE(producer_->BeginTransaction().ok());
  EXPECT_EQ(producer_->SendOffsets(*reader_).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(Commit().ok());
}

TEST(GroupConsumerOptions, OutOfRange_IsRefusedAtOnce) {
  const ScriptedCluster cluster(1);
  const auto open = [&](const GroupConsumerOptions& options, const std::string& group = "g") {
    return GroupConsumerHandle::Open(cluster.runtime(), group, options).status().code();
  };
  EXPECT_EQ(open({}), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}}, ""), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}, .auto_commit_interval = 0ms}), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}, .session_timeout = 999ms}), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}, .revoke_timeout = 31min}), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}, .prefetch_bytes = 1}), Code::kInvalidArgument);
  EXPECT_EQ(open({.topics = {"t"}, .start = Position::At(-1)}), Code::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::internal

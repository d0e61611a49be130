// What Consume streams read and commit, at any broker, by the loop of a small client.

#include <memory>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/broker/service/consume/consume_fixture.h"

namespace millrace::broker {
namespace {

using testing::HasSubstr;

class ConsumeStreamTest : public ConsumeTest {};

TEST_F(ConsumeStreamTest, AtAnyBroker_AMemberReadsWhatItOwns_InOrder_AndCommitsIt) {
  PublishToAll(0, 10);
  for (size_t broker = 0; broker < 3; ++broker) {
    v1::ConsumeInit init = ConsumerInit("m-" + std::to_string(broker));
    init.set_group("g-" + std::to_string(broker));
    const auto consumer = Owner(broker, init);
    EXPECT_EQ(consumer->joined[0].member_id(), init.member_id());
    ASSERT_TRUE(Until([&] { return consumer->records.size() == 10 * kPartitions; }, seconds(10)));
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      EXPECT_EQ(consumer->ValuesOf(partition), Values(partition, 0, 10));
      EXPECT_EQ(consumer->StartOf(partition), 0);
    }
    for (const Consumer::Record& record : consumer->records) {
      EXPECT_EQ(record.topic, "t");
      EXPECT_EQ(record.fencing_token, consumer->assigned[record.partition].fencing_token());
    }
    EndWell(consumer.get());
  }
}

TEST_F(ConsumeStreamTest, WhatIsCommitted_IsNotSentAgain_AndWhatIsNotIs) {
  PublishToAll(0, 10);
  auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  PublishToAll(10, 5);
  ASSERT_TRUE(Until([&] { return one->records.size() == 15 * kPartitions; }));
  EndWell(one.get());
  const auto two = Owner(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return two->records.size() == 5 * kPartitions; }));
  rig_.world.RunFor(seconds(1));
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    EXPECT_EQ(two->ValuesOf(partition), Values(partition, 10, 15));
    EXPECT_EQ(two->StartOf(partition), 10);
  }
}

// Rule 36: what was sent ahead is not committed, but what the client is done with.
TEST_F(ConsumeStreamTest, Rule36_ACommit_CoversWhatTheClientIsDoneWith_AndNothingElse) {
  auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  Publish(2, 0, 3);
  ASSERT_TRUE(Until([&] { return one->records.size() == 3; }));
  Publish(2, 3, 4);
  Publish(1, 0, 1);
  ASSERT_TRUE(Until([&] { return one->records.size() == 8; }));
  const uint64_t first = one->records[0].number;
  ASSERT_GT(one->records[3].number, first);
  one->CommitUpTo(first, 77);
  ASSERT_TRUE(Until([&] { return one->results.back().commit_id() == 77; }));
  EXPECT_EQ(Committed(2), 3);
  EXPECT_EQ(Committed(1), 0);
  // What it was done with before is part of the next commit.
  one->DoneWith(one->last_number);
  rig_.world.RunFor(seconds(1));
  EXPECT_EQ(Committed(2), 3);
  one->CommitUpTo(first, 78);
  ASSERT_TRUE(Until([&] { return one->results.back().commit_id() == 78; }));
  EXPECT_EQ(Committed(2), 7);
  EXPECT_EQ(Committed(1), 1);
  EXPECT_GT(LeaderEpochOf(1), 0U);
  EXPECT_EQ(CommittedAs(1).leader_epoch(), LeaderEpochOf(1)) << "of its last record";
}

TEST_F(ConsumeStreamTest, CommitsThatComeWhileOneIsUnderWay_AreOne_AndNoneCoversWhatCameAfterIt) {
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  for (int i = 0; i < 10; ++i) {
    Publish(1, i, 1);
    ASSERT_TRUE(Until([&] { return one->records.size() == static_cast<size_t>(i) + 1; }));
  }
  const uint64_t first = one->records[0].number;
  const size_t before = one->results.size();
  for (uint64_t i = 0; i < 8; ++i) one->CommitUpTo(first + i, 100 + i);
  one->DoneWith(first + 9);
  ASSERT_TRUE(Until([&] { return one->results.back().commit_id() == 107; }));
  ASSERT_EQ(one->results.size(), before + 2);
  EXPECT_EQ(one->results[before].commit_id(), 100U);
  EXPECT_EQ(Committed(1), 8);
}

TEST_F(ConsumeStreamTest, OffsetsOfTheClientsOwn_AreCommittedAsTheyAre_AndAnsweredInOrder) {
  PublishToAll(0, 10);
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->CommitOffset(3, 4, 901);
  one->CommitOffset(3, 1'000, 902);
  one->CommitUpTo(one->last_number, 903);
  const size_t before = one->results.size();
  ASSERT_TRUE(Until([&] { return one->results.size() == before + 3; }));
  EXPECT_EQ(one->results[before].commit_id(), 901U);
  EXPECT_EQ(one->results[before + 1].refused(0).error().code(),
            static_cast<int>(Code::kOutOfRange));
  EXPECT_EQ(one->results[before + 2].commit_id(), 903U);
  EXPECT_EQ(Committed(3), 4) << "nothing was sent since";
}

// Rule 24: "A partition that came to be after the group's first assignment of its topic is read
// from its start."
TEST_F(ConsumeStreamTest, Rule24_APartitionThatComesLater_IsReadFromItsStart_WhereverTheRestIs) {
  PublishToAll(0, 3);
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_start(v1::CONSUME_START_LATEST);
  const auto one = Owner(0, init);
  Grow(kPartitions + 1);
  Publish(kPartitions, 0, 4);
  Publish(0, 3, 1);
  ASSERT_TRUE(Until([&] { return one->records.size() == 5; }));
  EXPECT_EQ(one->ValuesOf(kPartitions), Values(kPartitions, 0, 4));
  EXPECT_EQ(one->ValuesOf(0), Values(0, 3, 4));
}

// Rule 31: "None" is an answer, and says where to begin; who began there has begun there for the
// next owner, too.
TEST_F(ConsumeStreamTest, Rule31_ALatestStart_IsCommittedOnceTheClientIsDone_SoThatNothingIsLost) {
  PublishToAll(0, 3);
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_start(v1::CONSUME_START_LATEST);
  const auto one = Owner(0, init);
  EXPECT_EQ(one->StartOf(1), 3);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  EXPECT_EQ(Committed(1), 3);
  EndWell(one.get());
  EXPECT_TRUE(one->records.empty());
  PublishToAll(3, 2);
  init.set_member_id("b");
  const auto two = Owner(1, init);
  ASSERT_TRUE(Until([&] { return two->records.size() == 2 * kPartitions; }));
  EXPECT_EQ(two->ValuesOf(1), Values(1, 3, 5));
}

// Rule 31: "an error leaves the reader where it is".
TEST_F(ConsumeStreamTest, Rule31_WithoutACoordinator_NothingIsRead_AndThenWhatIsNotCommitted) {
  PublishToAll(0, 3);
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->records.size() == 3 * kPartitions; }));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  EndWell(one.get());
  PublishToAll(3, 2);
  rig_.cluster.Kill(1, /*power_loss=*/false);
  rig_.cluster.Kill(2, /*power_loss=*/false);
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session(2);
  init.set_start(v1::CONSUME_START_LATEST);
  const auto none = Start(0, init);
  ASSERT_TRUE(Until([&] { return none->status().has_value(); }));
  EXPECT_EQ(none->status()->code(), Code::kUnavailable) << *none->status();
  EXPECT_TRUE(none->joined.empty() && none->assigned.empty());
  rig_.cluster.Start(1);
  ASSERT_TRUE(Until([&] { return rig_.cluster.is_serving(1); }));
  init.set_session(3);
  const auto two = Owner(1, init);
  ASSERT_TRUE(Until([&] { return two->records.size() == 2 * kPartitions; }));
  EXPECT_EQ(two->ValuesOf(1), Values(1, 3, 5));
}

// Rule 34: "OUT_OF_RANGE with the log start; ... reset policy, never silent."
TEST_F(ConsumeStreamTest, Rule34_WhatWasToBeReadIsGone_EndsTheStream_UnlessItWasSaidWhereToGoOn) {
  PublishToAll(0, 10);
  {
    const auto one = Owner(0);
    ASSERT_TRUE(Until([&] { return one->is_settled(); }));
    one->CommitOffset(2, 1, 900);
    ASSERT_TRUE(Until([&] { return one->results.back().commit_id() == 900; }));
    one->commits = false;
    EndWell(one.get());
  }
  DeleteRecords(2, 6);
  const auto refused = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return refused->status().has_value(); }));
  EXPECT_EQ(refused->status()->code(), Code::kOutOfRange);
  const Status::Metadata known{
      {"log_start_offset", "6"}, {"end_offset", "10"}, {"topic", "t"}, {"partition", "2"}};
  EXPECT_EQ(refused->status()->metadata(), known);
  v1::ConsumeInit init = ConsumerInit("b");
  init.set_session(2);
  init.set_when_gone(v1::CONSUME_START_LATEST);
  const auto latest = Start(1, init);
  latest->commits = false;
  ASSERT_TRUE(Until([&] { return latest->StartOf(2) == 10; }));
  EndWell(latest.get());
  init.set_when_gone(v1::CONSUME_START_EARLIEST);
  init.set_member_id("c");
  init.set_session(1);
  const auto earliest = Start(1, init);
  ASSERT_TRUE(Until([&] { return earliest->StartOf(2) == 6; }));
  ASSERT_TRUE(Until([&] { return earliest->ValuesOf(2) == Values(2, 6, 10); }));
  ASSERT_TRUE(Until([&] { return Committed(2) == 10; }));
}

TEST_F(ConsumeStreamTest, TheWindow_BoundsWhatTheClientIsNotDoneWith_AndEachMessage) {
  for (int i = 0; i < 100; ++i) Publish(0, i * 30, 30);
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_window_bytes(4'000);
  const auto one = Owner(0, init);
  one->commits = false;
  for (int round = 0; round < 3; ++round) {
    one->CommitUpTo(one->last_number);
    const uint64_t before = one->numbered_bytes;
    rig_.world.RunFor(seconds(2));
    EXPECT_GE(one->numbered_bytes - before, 3'000U);
    EXPECT_LE(one->numbered_bytes - before, 8'100U);
  }
  EXPECT_LE(one->largest_message, 4'100U);
  one->commits = true;
  one->CommitUpTo(one->last_number);
  ASSERT_TRUE(Until([&] { return one->records.size() == 3'000; }));
  EXPECT_EQ(one->ValuesOf(0), Values(0, 0, 3'000));
}

TEST_F(ConsumeStreamTest, LeadersThatDie_AreAPause_AndNothingIsLostOrTwice) {
  const size_t coordinator = CoordinatorOf(rig_, "g");
  const auto one = Owner(Other(coordinator));
  PublishToAll(0, 10);
  ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
  rig_.cluster.Kill(coordinator, /*power_loss=*/true);
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    Publish(partition, 10, 10, Other(coordinator));
  }
  ASSERT_TRUE(Until([&] { return one->records.size() == 20 * kPartitions; }));
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    EXPECT_EQ(one->ValuesOf(partition), Values(partition, 0, 20));
  }
  ASSERT_TRUE(Until([&] { return Committed(3, Other(coordinator)) == 20; }));
  EXPECT_FALSE(one->status().has_value());
}

TEST_F(ConsumeStreamTest, ATopicThatIsDeleted_IsToBeGivenUp_AndTheOtherOneIsReadOn) {
  rig_.CreateTopic("u", 1);
  v1::ConsumeInit init = ConsumerInit("a");
  init.mutable_subscription()->add_topics("u");
  const auto one = Start(0, init);
  ASSERT_TRUE(Until([&] { return one->assigned.size() == kPartitions + 1; }));
  v1::DeleteTopicRequest request;
  request.set_name("u");
  ASSERT_TRUE(
      rig_.Call<v1::DeleteTopicResponse>(0, "/millrace.v1.AdminService/DeleteTopic", request).ok());
  ASSERT_TRUE(Until([&] { return !one->revoked.empty(); }));
  EXPECT_EQ(one->revoked[0].topic(), "u");
  Publish(1, 0, 1);
  ASSERT_TRUE(Until([&] { return one->records.size() == 1; }));
  EXPECT_FALSE(one->status().has_value());
}

TEST_F(ConsumeStreamTest, WhatIsWrong_EndsTheStream_AndIsNamed) {
  const auto ended_by = [this](const v1::ConsumeRequest& request) {
    Consumer consumer(rig_, 0);
    consumer.Say(request);
    CHECK(consumer.status().has_value());
    return *consumer.status();
  };
  v1::ConsumeRequest request;
  EXPECT_THAT(std::string(ended_by(request).message()), HasSubstr("says nothing"));
  request.mutable_ping();
  EXPECT_THAT(std::string(ended_by(request).message()), HasSubstr("must be `init`"));
  *request.mutable_init() = ConsumerInit("a");
  request.mutable_init()->set_window_bytes((16 << 20) + 1);
  EXPECT_THAT(std::string(ended_by(request).message()), HasSubstr("window_bytes"));
  *request.mutable_init() = ConsumerInit("a");
  request.mutable_init()->clear_group();
  EXPECT_EQ(ended_by(request).code(), Code::kInvalidArgument);

  const auto one = Owner(0);
  one->DoneWith(1'000);
  ASSERT_TRUE(one->status().has_value());
  EXPECT_THAT(std::string(one->status()->message()), HasSubstr("up_to is 1000"));
  v1::ConsumeInit next = ConsumerInit("a");
  next.set_session(2);
  const auto two = Owner(0, next);
  request.mutable_init();
  two->Say(request);
  ASSERT_TRUE(two->status().has_value());
  EXPECT_THAT(std::string(two->status()->message()), HasSubstr("first message"));
  Consumer none(rig_, 0);
  none.HalfClose();
  EXPECT_EQ(none.status()->code(), Code::kInvalidArgument);
}

TEST_F(ConsumeStreamTest, WhatAStreamHolds_IsBounded_AndGivenBack) {
  ClientMemory& memory = rig_.cluster.node(0).client_memory();
  const uint64_t sessions = memory.sessions.used();
  for (int i = 0; i < 40; ++i) {
    v1::PublishRequest request;
    request.set_topic("t");
    request.set_partition(static_cast<uint32_t>(i) % kPartitions);
    for (int j = 0; j < 9; ++j) request.add_records()->set_value(std::string(100'000, 'x'));
    ASSERT_TRUE(
        rig_.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request).ok());
  }
  {
    v1::ConsumeInit init = ConsumerInit("a");
    init.set_window_bytes(16 << 20);
    const auto one = Owner(0, init);
    one->stream().is_stuck = true;
    rig_.world.RunFor(seconds(3));
    EXPECT_LE(one->stream().pending_bytes(), uint64_t{4} << 20);
    EXPECT_GE(memory.sessions.used(), sessions + 2'048 + kPartitions * 512);
    one->stream().is_stuck = false;
    one->Take();
    ASSERT_TRUE(Until([&] { return one->records.size() == 360; }));
  }
  rig_.world.RunFor(seconds(6));
  EXPECT_EQ(memory.sessions.used(), sessions);
  EXPECT_EQ(memory.outgoing.used(), 0U);
}

}  // namespace
}  // namespace millrace::broker

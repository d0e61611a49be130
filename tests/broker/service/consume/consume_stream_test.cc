// Consume streams: a group's members that read, at any broker, by the loop of a small client.

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/service/consume/consumer_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr uint32_t kPartitions = 4;

class ConsumeStreamTest : public testing::Test {
 protected:
  void SetUp() override { rig_.CreateTopic("t", kPartitions); }

  bool Until(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_.world.RunUntil(condition, limit);
  }
  // Records of one partition, their values "PARTITION.NUMBER" from `first` on.
  void Publish(uint32_t partition, int first, int count, size_t broker = 0) {
    v1::PublishRequest request;
    request.set_topic("t");
    request.set_partition(partition);
    for (int i = first; i < first + count; ++i) {
      request.add_records()->set_value(std::to_string(partition) + "." + std::to_string(i));
    }
    for (int attempt = 0; attempt < 200; ++attempt) {
      const auto response =
          rig_.Call<v1::PublishResponse>(broker, "/millrace.v1.ProducerService/Publish", request);
      if (response.ok() && !response->results(0).has_error()) return;
      rig_.world.RunFor(milliseconds(50));
    }
    FAIL() << "nothing can be published";
  }
  void PublishToAll(int first, int count) {
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      Publish(partition, first, count);
    }
  }
  static std::vector<std::string> Values(uint32_t partition, int from, int to) {
    std::vector<std::string> values;
    for (int i = from; i < to; ++i) {
      values.push_back(std::to_string(partition) + "." + std::to_string(i));
    }
    return values;
  }
  // What the group has committed for a partition; of offset -1: nothing.
  v1::GroupOffset CommittedAs(uint32_t partition, size_t broker = 0) {
    v1::FetchOffsetsRequest request;
    request.set_group("g");
    const auto fetched = rig_.Call<v1::FetchOffsetsResponse>(
        broker, "/millrace.v1.GroupService/FetchOffsets", request);
    CHECK(fetched.ok()) << fetched.status();
    for (const v1::TopicOffsets& topic : fetched->topics()) {
      for (const v1::GroupOffset& offset : topic.partitions()) {
        if (offset.partition() == partition) return offset;
      }
    }
    v1::GroupOffset none;
    none.set_offset(-1);
    return none;
  }
  int64_t Committed(uint32_t partition, size_t broker = 0) {
    return CommittedAs(partition, broker).offset();
  }
  uint64_t LeaderEpochOf(uint32_t partition) {
    v1::ListOffsetsRequest request;
    request.set_topic("t");
    request.add_partitions(partition);
    const auto listed =
        rig_.Call<v1::ListOffsetsResponse>(0, "/millrace.v1.ConsumerService/ListOffsets", request);
    CHECK(listed.ok()) << listed.status();
    return listed->partitions(0).leader_epoch();
  }
  size_t MemberCount() { return broker::MemberCount(rig_, "g"); }
  std::unique_ptr<Consumer> Start(size_t broker, const v1::ConsumeInit& init) {
    return std::make_unique<Consumer>(rig_, broker, init);
  }
  // One that has all partitions.
  std::unique_ptr<Consumer> Owner(size_t broker, const v1::ConsumeInit& init = ConsumerInit("a")) {
    auto consumer = Start(broker, init);
    CHECK(Until([&] { return consumer->owned.size() == kPartitions; }));
    return consumer;
  }
  // Whether each partition is one of theirs, and each has as many as the others.
  static bool ShareAll(const std::vector<const Consumer*>& consumers) {
    std::set<uint32_t> all;
    for (const Consumer* consumer : consumers) {
      if (consumer->owned.size() != kPartitions / consumers.size()) return false;
      all.insert(consumer->owned.begin(), consumer->owned.end());
    }
    return all.size() == kPartitions;
  }
  void EndWell(Consumer* consumer) {
    consumer->Leave();
    ASSERT_TRUE(Until([&] { return consumer->status().has_value(); }));
    EXPECT_TRUE(consumer->status()->ok()) << *consumer->status();
  }
  void Grow(uint32_t partitions) {
    v1::AlterTopicRequest request;
    request.set_name("t");
    request.set_partition_count(partitions);
    const auto grown =
        rig_.Call<v1::AlterTopicResponse>(0, "/millrace.v1.AdminService/AlterTopic", request);
    ASSERT_TRUE(grown.ok()) << grown.status();
  }
  void DeleteRecords(uint32_t partition, int64_t before) {
    v1::DeleteRecordsRequest request;
    request.set_topic("t");
    request.add_partitions()->set_partition(partition);
    request.mutable_partitions(0)->set_before_offset(before);
    const auto deleted =
        rig_.Call<v1::DeleteRecordsResponse>(0, "/millrace.v1.AdminService/DeleteRecords", request);
    ASSERT_TRUE(deleted.ok() && !deleted->partitions(0).has_error());
  }

  ServiceRig rig_{1};
};

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

TEST_F(ConsumeStreamTest, WithoutAnId_TheBrokerDrawsOne) {
  std::set<std::string> ids;
  for (size_t broker = 0; broker < 3; ++broker) {
    for (int i = 0; i < 2; ++i) {
      const auto one = Start(broker, ConsumerInit(""));
      ASSERT_TRUE(Until([&] { return !one->joined.empty(); }));
      EXPECT_EQ(one->joined[0].member_id().size(), 32U);
      ids.insert(one->joined[0].member_id());
      EndWell(one.get());
    }
  }
  EXPECT_EQ(ids.size(), 6U);
}

// Rule 16: "every commit that counts lies before the offset that is handed over".
TEST_F(ConsumeStreamTest, Rule16_ARevokedPartition_IsAnothersOnceTheClientIsDone_FromWhereItWas) {
  PublishToAll(0, 10);
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->records.size() == 40; }));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  PublishToAll(10, 5);
  ASSERT_TRUE(Until([&] { return one->records.size() == 60; }));
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return one->revoked.size() == 2; }));
  rig_.world.RunFor(seconds(5));
  EXPECT_TRUE(two->owned.empty()) << "the first one works on them";
  const uint32_t moved = one->revoked[0].partition();
  Publish(moved, 15, 1);
  rig_.world.RunFor(seconds(1));
  EXPECT_EQ(one->ValuesOf(moved), Values(moved, 0, 15)) << "nothing more of it is sent";
  one->CommitUpTo(one->last_number);
  one->commits = true;
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  ASSERT_TRUE(Until([&] { return !two->records.empty(); }));
  EXPECT_EQ(two->StartOf(moved), 15);
  EXPECT_EQ(two->ValuesOf(moved), Values(moved, 15, 16));
  EXPECT_GT(two->assigned[0].fencing_token(), one->assigned[0].fencing_token());
  // Who keeps a partition reads on.
  const uint32_t kept = *one->owned.begin();
  Publish(kept, 15, 1);
  ASSERT_TRUE(Until([&] { return one->ValuesOf(kept) == Values(kept, 0, 16); }));
}

// Rule 15: "Who does not give up in revoke_timeout is fenced".
TEST_F(ConsumeStreamTest, Rule15_WhoIsNotDoneInTheRevokeTime_IsTakenOut_ThoughItLives) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_revoke_timeout_ms(5'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->KeepPinging(seconds(2));
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return one->revoked.size() == 2; }));
  rig_.world.RunFor(seconds(4));
  EXPECT_FALSE(one->status().has_value());
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(3)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
  EXPECT_TRUE(Until([&] { return two->owned.size() == kPartitions; }));
}

// Rule 25: "a stream that takes nothing for its session time is broken", whatever its client says.
TEST_F(ConsumeStreamTest, Rule25_AClientThatTakesNothing_IsTakenOutAfterItsTime_ThoughItPings) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  one->KeepPinging(seconds(1));
  one->commits = false;
  one->stream().is_stuck = true;
  PublishToAll(0, 10);
  rig_.world.RunFor(seconds(5));
  EXPECT_FALSE(one->status().has_value());
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(4)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeStreamTest, Rule25_AClientThatDoesNotRead_IsToldOneChange_AndThenTheNewest) {
  const auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  one->commits = false;
  one->stream().is_stuck = true;
  for (uint32_t i = 1; i <= 4; ++i) {
    Grow(kPartitions + i);
    rig_.world.RunFor(seconds(2));
  }
  EXPECT_EQ(one->owned.size(), kPartitions + 1) << "one is on its way, and no more";
  one->stream().is_stuck = false;
  one->Take();
  ASSERT_TRUE(Until([&] { return one->owned.size() == kPartitions + 4; }));
  EXPECT_FALSE(one->status().has_value());
}

TEST_F(ConsumeStreamTest, Rule25_AClientThatTakesNoResults_IsNotHeard_UntilItsTimeIsOver) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->stream().is_stuck = true;
  v1::ConsumeRequest commit;
  auto& topic = *commit.mutable_commit()->mutable_offsets()->add_topics();
  topic.set_topic("a-topic-that-is-not-there-" + std::string(200, 'x'));
  for (int i = 0; i < 100; ++i) topic.add_partitions();
  for (size_t i = 0; one->stream().is_reading; ++i) {
    ASSERT_LT(i, 10'000U);
    one->Say(commit);
  }
  EXPECT_LT(one->stream().pending_bytes(), uint64_t{3} << 20);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(9)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeStreamTest, Rule25_ASilentClient_IsTakenOut_AndOneThatIsDoneWithNothing_Stays) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(6'000);
  const auto one = Owner(0, init);
  rig_.world.RunFor(seconds(20));
  EXPECT_FALSE(one->status().has_value());
  EXPECT_GE(one->empty_messages, 6U) << "it was sent something to be done with";
  one->commits = false;
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(9)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced) << *one->status();
}

TEST_F(ConsumeStreamTest, Rule25_AClientThatWorksForLong_AndPings_StaysIn_AndReadsSlowly) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(4'000);
  const auto one = Owner(0, init);
  one->commits = false;
  one->KeepPinging(seconds(1));
  rig_.world.RunFor(seconds(12));
  // The transport has always something left, and takes a little now and then.
  one->stream().is_stuck = true;
  for (int i = 0; i < 12; ++i) {
    Publish(0, i, 1);
    one->Take();
    Publish(1, i, 1);
    rig_.world.RunFor(seconds(1));
  }
  EXPECT_FALSE(one->status().has_value()) << *one->status();
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

// Rule 17: "it takes the place, epoch and partitions of one ... that said it would be back".
TEST_F(ConsumeStreamTest, Rule17_AStaticMemberThatWillBeBack_FindsWhatItHad) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_instance_id("i");
  const auto one = Owner(0, init);
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  const Consumer::Partitions had = one->owned;
  one->Leave(/*will_be_back=*/true);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  rig_.world.RunFor(seconds(10));
  init.set_member_id("a-2");
  const auto back = Start(2, init);
  ASSERT_TRUE(Until([&] { return back->owned == had; }));
  EXPECT_TRUE(two->revoked.empty());
  init.set_member_id("a-3");
  const auto refused = Start(1, init);
  ASSERT_TRUE(Until([&] { return refused->status().has_value(); }));
  EXPECT_EQ(refused->status()->reason(), Reason::kInstanceIdInUse) << *refused->status();
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

// Rule 18: "A member counts its streams".
TEST_F(ConsumeStreamTest, Rule18_ANextStreamAtAnotherBroker_HasWhatTheMemberHad_AtOnce) {
  PublishToAll(0, 5);
  auto one = Owner(0);
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  ASSERT_EQ(one->records.size(), 5 * kPartitions);
  one->commits = false;
  PublishToAll(5, 5);
  ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session(2);
  const auto two = Start(1, init);
  ASSERT_TRUE(Until([&] { return two->owned.size() == kPartitions; }, seconds(3)));
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(4)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced);
  ASSERT_TRUE(Until([&] { return two->records.size() == 5 * kPartitions; }));
  EXPECT_EQ(two->ValuesOf(0), Values(0, 5, 10));
  EXPECT_EQ(MemberCount(), 1U);
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

TEST_F(ConsumeStreamTest, ALeave_OrAHalfClose_ComesAfterTheCommitsBeforeIt) {
  for (const bool leaves : {false, true}) {
    PublishToAll(leaves ? 10 : 0, 10);
    const auto one = Owner(leaves ? 1 : 0, ConsumerInit(leaves ? "b" : "a"));
    one->commits = false;
    ASSERT_TRUE(Until([&] { return one->records.size() == 10 * kPartitions; }));
    // The second one waits for the first one.
    one->CommitUpTo(one->records[0].number, 4);
    one->CommitUpTo(one->last_number, 5);
    leaves ? one->Leave() : one->HalfClose();
    ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
    EXPECT_TRUE(one->status()->ok()) << *one->status();
    EXPECT_EQ(one->results.back().commit_id(), 5U);
    EXPECT_EQ(MemberCount(), leaves ? 0U : 1U);
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      EXPECT_EQ(Committed(partition), leaves ? 20 : 10);
    }
    // It is a member for its session's time.
    ASSERT_TRUE(Until([&] { return MemberCount() == 0; }));
  }
}

TEST_F(ConsumeStreamTest, BehindALeave_NothingIsSent_HoweverLongItTakes) {
  const size_t coordinator = CoordinatorOf(rig_, "g");
  const auto one = Owner(Other(coordinator));
  ASSERT_TRUE(Until([&] { return one->is_settled(); }));
  rig_.cluster.Kill(coordinator, /*power_loss=*/true);
  one->Leave();
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    Publish(partition, 0, 1, Other(coordinator));
  }
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  EXPECT_TRUE(one->records.empty());
}

TEST_F(ConsumeStreamTest, WithoutMemoryToRead_ItIsReadLater) {
  const auto one = Owner(0);
  const auto two = Start(1, ConsumerInit("b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  PublishToAll(0, 3);
  ASSERT_TRUE(Until([&] { return one->records.size() + two->records.size() == 12; }));
  MemoryBudget& sessions = rig_.cluster.node(0).client_memory().sessions;
  MemoryHold all(sessions, sessions.free());
  EndWell(two.get());
  rig_.world.RunFor(seconds(2));
  EXPECT_EQ(one->owned.size(), 2U);
  all.Release();
  ASSERT_TRUE(Until([&] { return one->owned.size() == kPartitions; }, seconds(1)));
  PublishToAll(3, 1);
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    const auto has_last = [&, partition] {
      const auto values = one->ValuesOf(partition);
      return !values.empty() && values.back() == Values(partition, 3, 4)[0];
    };
    EXPECT_TRUE(Until(has_last, seconds(2)));
  }
}

TEST_F(ConsumeStreamTest, HalfClosed_OrCut_TheMemberHasItsSessionsTime) {
  v1::ConsumeInit init = ConsumerInit("a");
  init.set_session_timeout_ms(5'000);
  auto closed = Owner(0, init);
  closed->HalfClose();
  ASSERT_TRUE(Until([&] { return closed->status().has_value(); }, seconds(1)));
  EXPECT_TRUE(closed->status()->ok()) << *closed->status();
  EXPECT_EQ(MemberCount(), 1U);
  ASSERT_TRUE(Until([&] { return MemberCount() == 0; }, seconds(8)));
  auto cut = Owner(1, init);
  cut->Cut();
  EXPECT_EQ(MemberCount(), 1U);
  ASSERT_TRUE(Until([&] { return MemberCount() == 0; }, seconds(8)));
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

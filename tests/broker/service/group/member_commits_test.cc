// What a member commits on its Join stream: in order, and before whatever it says after it.

#include <chrono>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/broker/service/group/member_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::seconds;

class MemberCommitsTest : public testing::Test {
 protected:
  void SetUp() override {
    rig_.CreateTopic("t", 2);
    for (uint32_t partition = 0; partition < 2; ++partition) {
      v1::PublishRequest request;
      request.set_topic("t");
      request.set_partition(partition);
      for (int i = 0; i < 100; ++i) request.add_records()->set_timestamp_ms(1000 + i);
      const auto response =
          rig_.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request);
      ASSERT_TRUE(response.ok()) << response.status();
    }
  }
  bool Until(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_.world.RunUntil(condition, limit);
  }
  // One that has both partitions.
  std::unique_ptr<MemberStream> Owner(size_t broker, const v1::JoinInit& init = Init("g", "a")) {
    auto member = std::make_unique<MemberStream>(rig_, broker, init);
    CHECK(Until([&] { return member->owned().size() == 2; }));
    return member;
  }
  // What the group has for partition 0; -1: nothing.
  int64_t Committed(size_t broker = 0) {
    v1::FetchOffsetsRequest request;
    request.set_group("g");
    const auto fetched = rig_.Call<v1::FetchOffsetsResponse>(
        broker, "/millrace.v1.GroupService/FetchOffsets", request);
    CHECK(fetched.ok()) << fetched.status();
    if (fetched->topics().empty()) return -1;
    return fetched->topics(0).partitions(0).offset();
  }

  ServiceRig rig_{1};
};

TEST_F(MemberCommitsTest, AreAnsweredInOrder_WhateverBecomesOfThem) {
  const auto member = Owner(0);
  member->Commit(7, 0, 10);
  member->Commit(8, 0, 10, "none");  // known at once
  member->Commit(9, 0, 1'000);       // past the end
  member->Commit(9, 0, -1);          // cannot be; and the number is the client's
  member->Commit(10, 0, 20);
  ASSERT_TRUE(Until([&] { return member->results.size() == 5; }));
  const auto reason = [](const v1::Error& error) { return error.info().reason(); };
  EXPECT_EQ(member->results[0].commit_id(), 7U);
  EXPECT_TRUE(member->results[0].refused().empty());
  EXPECT_EQ(member->results[1].commit_id(), 8U);
  EXPECT_EQ(reason(member->results[1].refused(0).error()), "UNKNOWN_TOPIC");
  EXPECT_EQ(member->results[2].refused(0).error().code(), static_cast<int>(Code::kOutOfRange));
  EXPECT_EQ(member->results[3].error().code(), static_cast<int>(Code::kInvalidArgument));
  EXPECT_EQ(member->results[4].commit_id(), 10U);
  EXPECT_FALSE(member->results[4].has_error());
  EXPECT_EQ(Committed(), 20);
  EXPECT_FALSE(member->status().has_value());
}

TEST_F(MemberCommitsTest, OfAPartitionThatIsNotTheMembers_IsRefusedByItself) {
  const auto one = Owner(0);
  MemberStream two(rig_, 1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return two.owned().size() == 1 && one->owned().size() == 1; }));
  const uint32_t own = two.owned().begin()->second;
  v1::JoinRequest request;
  auto& topic = *request.mutable_commit()->add_topics();
  topic.set_topic("t");
  for (uint32_t partition = 0; partition < 2; ++partition) {
    topic.add_partitions()->set_partition(partition);
    topic.mutable_partitions(static_cast<int>(partition))->set_offset(5);
  }
  two.Say(request);
  ASSERT_TRUE(Until([&] { return two.results.size() == 1; }));
  ASSERT_EQ(two.results[0].refused_size(), 1);
  EXPECT_EQ(two.results[0].refused(0).error().info().reason(), "MEMBER_STALE");
  EXPECT_EQ(two.results[0].refused(0).partition(), 1 - own);
}

TEST_F(MemberCommitsTest, BeforeItJoined_WaitUntilItHas) {
  const auto one = Owner(0);
  v1::JoinInit init = Init("g", "a");
  init.set_session(2);
  init.set_member_epoch(one->assignments.back().member_epoch());
  MemberStream two(rig_, 1, init);
  two.Commit(1, 0, 30);
  EXPECT_TRUE(two.results.empty());
  ASSERT_TRUE(Until([&] { return two.results.size() == 1; }));
  EXPECT_TRUE(two.results[0].refused().empty()) << two.results[0].ShortDebugString();
  EXPECT_EQ(Committed(), 30);
}

TEST_F(MemberCommitsTest, TooManyThatAreNotAnswered_StopTheReading_UntilSomeAre) {
  const auto member = Owner(Other(CoordinatorOf(rig_, "g")));
  for (uint64_t i = 0; i < 16; ++i) {
    EXPECT_TRUE(member->stream().is_reading) << i;
    member->Commit(i, 0, static_cast<int64_t>(i));
  }
  EXPECT_FALSE(member->stream().is_reading);
  ASSERT_TRUE(Until([&] { return member->stream().is_reading; }));
  ASSERT_TRUE(Until([&] { return member->results.size() == 16; }));
  for (uint64_t i = 0; i < 16; ++i) EXPECT_EQ(member->results[i].commit_id(), i);
  EXPECT_EQ(Committed(), 15);
}

// Rule 16: "every commit that counts lies before the offset that is handed over."
TEST_F(MemberCommitsTest, Rule16_WhatIsCommittedBeforeAPartitionIsGivenUp_IsHandedOver) {
  const auto one = Owner(0);
  one->does_answer = false;
  MemberStream two(rig_, 1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !one->assignments.back().revoked().empty(); }));
  const uint32_t partition = one->revoked().begin()->second;
  // Without a pause: the answer is not to overtake the commits.
  for (uint64_t i = 1; i <= 5; ++i) one->Commit(i, partition, static_cast<int64_t>(i));
  one->Done();
  ASSERT_TRUE(Until([&] { return !two.owned().empty(); }));
  ASSERT_EQ(one->results.size(), 5U);
  for (const auto& result : one->results) {
    EXPECT_TRUE(result.refused().empty()) << result.ShortDebugString();
  }
  EXPECT_EQ(two.owned().begin()->second, partition);
  EXPECT_EQ(two.assignments.back().topics(0).partitions(0).offset(), 5);
}

TEST_F(MemberCommitsTest, BeforeALeave_OrAHalfClose_AreAnsweredFirst) {
  const auto one = Owner(0);
  one->Commit(1, 0, 40);
  one->Commit(2, 0, 41);
  one->Leave();
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  ASSERT_EQ(one->results.size(), 2U);
  EXPECT_TRUE(one->results[1].refused().empty());
  EXPECT_EQ(Committed(), 41);
  const auto two = Owner(1, Init("g", "b"));
  two->Commit(1, 0, 50);
  two->HalfClose();
  ASSERT_TRUE(Until([&] { return two->status().has_value(); }));
  EXPECT_TRUE(two->status()->ok()) << *two->status();
  EXPECT_EQ(two->results.size(), 1U);
  EXPECT_EQ(Committed(), 50);
}

TEST_F(MemberCommitsTest, WhileTheCoordinatorMoves_AreAllTaken_InOrder) {
  const size_t leader = CoordinatorOf(rig_, "g");
  const auto member = Owner(Other(leader));
  member->KeepPinging();
  member->Commit(1, 0, 1);
  ASSERT_TRUE(Until([&] { return member->results.size() == 1; }));
  rig_.cluster.Kill(leader, /*power_loss=*/true);
  for (uint64_t i = 2; i <= 10; ++i) member->Commit(i, 0, static_cast<int64_t>(i));
  ASSERT_TRUE(Until([&] { return member->results.size() == 10; }));
  for (const auto& result : member->results) {
    EXPECT_FALSE(result.has_error()) << result.ShortDebugString();
  }
  EXPECT_EQ(Committed(Other(leader)), 10);
  EXPECT_FALSE(member->status().has_value());
}

// Rule 11: "A fenced member's commits ... are refused; its Join stream ends with MEMBER_FENCED".
TEST_F(MemberCommitsTest, Rule11_OfAMemberThatWasTakenOut_EndTheStream_AndAreNotTaken) {
  v1::JoinInit init = Init("g", "a");
  init.set_session_timeout_ms(1'000'000);
  init.set_revoke_timeout_ms(4'000);
  const auto member = Owner(0, init);
  // What it says does not come through while it is taken out: it does not give up in time.
  member->does_answer = false;
  MemberStream other(rig_, 1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !member->assignments.back().revoked().empty(); }));
  rig_.world.RunFor(std::chrono::milliseconds(3'990));
  for (uint64_t i = 0; i < 400 && !member->status().has_value(); ++i) {
    member->Commit(i, member->revoked().begin()->second, 60);
    rig_.world.RunFor(std::chrono::milliseconds(1));
  }
  ASSERT_TRUE(Until([&] { return member->status().has_value(); }));
  EXPECT_EQ(member->status()->code(), Code::kAborted);
  EXPECT_EQ(member->status()->reason(), Reason::kMemberFenced);
  for (const auto& result : member->results) {
    EXPECT_FALSE(result.has_error()) << result.ShortDebugString();
  }
}

}  // namespace
}  // namespace millrace::broker

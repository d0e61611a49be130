// Members' Join streams at any broker of a cluster, whoever leads their group's shard.

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/group_service.pb.h"
#include "tests/broker/service/group/member_rig.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

constexpr uint32_t kPartitions = 4;

class JoinStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    rig_.CreateTopic("t", kPartitions);
    topic_ = rig_.TopicIdOf("t").value();
  }

  size_t MemberCount() { return broker::MemberCount(rig_, "g"); }
  bool Until(const std::function<bool()>& condition, Duration limit = kRigTimeMax) {
    return rig_.world.RunUntil(condition, limit);
  }
  // Whether each partition is owned by one of them, and each owns as many as the others.
  bool ShareAll(const std::vector<MemberStream*>& members) {
    MemberStream::Partitions all;
    for (const MemberStream* member : members) {
      if (member->owned().size() != kPartitions / members.size()) return false;
      all.insert(member->owned().begin(), member->owned().end());
    }
    return all.size() == kPartitions;
  }
  std::unique_ptr<MemberStream> Member(size_t broker, const v1::JoinInit& init) {
    return std::make_unique<MemberStream>(rig_, broker, init);
  }
  // One that has all partitions.
  std::unique_ptr<MemberStream> Owner(size_t broker, const v1::JoinInit& init = Init("g", "a")) {
    auto member = Member(broker, init);
    CHECK(Until([&] { return ShareAll({member.get()}); }));
    return member;
  }

  ServiceRig rig_{1};
  uint64_t topic_ = 0;
};

TEST_F(JoinStreamTest, AMember_IsToldThatItJoined_ThenWhatItHas_AtAnyBroker) {
  for (size_t broker = 0; broker < 3; ++broker) {
    const auto member = Owner(broker, Init("g-" + std::to_string(broker), "m"));
    ASSERT_EQ(member->joined.size(), 1U);
    EXPECT_GT(member->joined[0].member_epoch(), 0);
    EXPECT_EQ(member->joined[0].interval_ms(), 3'000U);
    EXPECT_EQ(member->assignments.front().topics_size(), 0) << "the first one is told, too";
    const v1::Assignment& last = member->assignments.back();
    EXPECT_EQ(last.topics(0).topic(), "t");
    EXPECT_EQ(last.topics(0).topic_id(), topic_);
    EXPECT_EQ(last.revoked_size(), 0);
    member->Leave();
    EXPECT_TRUE(Until([&] { return member->status().has_value(); }));
  }
}

TEST_F(JoinStreamTest, WhateverComesFirstAndIsNoInit_EndsTheStream) {
  v1::JoinRequest request;
  std::vector<v1::JoinRequest> first(5);
  first[0].mutable_ping();
  first[1].mutable_done();
  first[2].mutable_commit();
  first[3].mutable_leave();
  first[4].mutable_subscription()->add_topics("t");
  for (const v1::JoinRequest& said : first) {
    MemberStream stream(rig_, 0);
    stream.Say(said);
    ASSERT_TRUE(stream.status().has_value()) << said.ShortDebugString();
    EXPECT_EQ(stream.status()->code(), Code::kInvalidArgument);
    EXPECT_THAT(std::string(stream.status()->message()), HasSubstr("must be `init`"));
    stream.Say(said);  // and nothing is said twice
  }
  MemberStream none(rig_, 0);
  none.HalfClose();
  EXPECT_EQ(none.status()->code(), Code::kInvalidArgument);
  MemberStream garbage(rig_, 0);
  garbage.SayBytes("\xff\xff");
  EXPECT_EQ(garbage.status()->code(), Code::kInvalidArgument);
  MemberStream wrong(rig_, 0, Init("", "m"));
  EXPECT_EQ(wrong.status()->code(), Code::kInvalidArgument);
  EXPECT_EQ(MemberCount(), 0U);
}

TEST_F(JoinStreamTest, ASecondInit_EndsTheStream_AlsoBeforeTheFirstIsAnswered) {
  for (const bool is_early : {true, false}) {
    const auto member = Member(0, Init("g", is_early ? "early" : "late"));
    ASSERT_TRUE(Until([&] { return is_early || !member->joined.empty(); }));
    v1::JoinRequest again;
    *again.mutable_init() = Init("g", "b");
    member->Say(again);
    ASSERT_TRUE(member->status().has_value());
    EXPECT_EQ(member->status()->code(), Code::kInvalidArgument);
    EXPECT_THAT(std::string(member->status()->message()), HasSubstr("first message"));
  }
}

TEST_F(JoinStreamTest, WhoKeepsAPartition_IsToldOfNothing_AndWhoGivesOneUp_SaysSoFirst) {
  const auto one = Owner(0);
  one->does_answer = false;
  const auto two = Member(1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !one->assignments.back().revoked().empty(); }));
  EXPECT_EQ(one->revoked().size(), 2U);
  rig_.world.RunFor(seconds(5));
  EXPECT_TRUE(two->owned().empty()) << "nothing was given up yet";
  one->Done();
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  EXPECT_EQ(one->given_up, two->owned());
}

TEST_F(JoinStreamTest, AnAnswerToAnOlderAssignment_ReleasesNothing_AndOneToNoneEndsTheStream) {
  const auto one = Owner(0);
  one->does_answer = false;
  const uint64_t old_version = one->assignments.back().version();
  const auto two = Member(1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !one->assignments.back().revoked().empty(); }));
  one->Done(old_version, {});
  rig_.world.RunFor(seconds(5));
  EXPECT_TRUE(two->owned().empty());
  EXPECT_FALSE(one->status().has_value());
  one->Done(one->assignments.back().version() + 1, {});
  ASSERT_TRUE(one->status().has_value());
  EXPECT_EQ(one->status()->code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(one->status()->message()), HasSubstr("no such assignment"));
}

// What it owned when it answered an older one says nothing of what it got since.
TEST_F(JoinStreamTest, WhatWasAnsweredToAnOlderAssignment_IsNotTakenForAnAnswerToTheNewest) {
  MemberStream one(rig_, 0, Init("g", "a"));
  one.does_answer = false;
  ASSERT_TRUE(Until([&] { return !one.assignments.empty(); }));
  one.Done();  // it has nothing yet
  ASSERT_TRUE(Until([&] { return one.owned().size() == kPartitions; }));
  const auto two = Member(1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !one.assignments.back().revoked().empty(); }));
  one.KeepPinging();
  rig_.world.RunFor(seconds(10));
  EXPECT_TRUE(two->owned().empty()) << "it still works on them";
  one.Done();
  EXPECT_TRUE(Until([&] { return ShareAll({&one, two.get()}); }));
}

// Rule 14: "A confirmation is the full list of what is owned, repeated until an assignment answers
// it".
TEST_F(JoinStreamTest, Rule14_AnAnswerThatIsLostWithTheLeader_IsSaidAgain) {
  const size_t leader = CoordinatorOf(rig_, "g");
  const auto one = Owner(Other(leader));
  one->does_answer = false;
  const auto two = Member(Other(Other(leader)), Init("g", "b"));
  ASSERT_TRUE(Until([&] { return !one->assignments.back().revoked().empty(); }));
  one->KeepPinging();
  two->KeepPinging();
  rig_.cluster.Kill(leader, /*power_loss=*/true);
  one->Done();
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  EXPECT_EQ(one->joined.size(), 1U) << "a change of leader is a pause";
  EXPECT_FALSE(one->status().has_value());
}

// Both are asked again once there is a leader, and the older one may come second.
TEST(JoinStream, WhatWasAskedBeforeTheNewest_MayBeRefused_WithoutEndingTheStream) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    ServiceRig rig(seed);
    rig.CreateTopic("t", 1);
    const size_t leader = CoordinatorOf(rig, "g");
    MemberStream member(rig, Other(leader), Init("g", "a"));
    ASSERT_TRUE(member.Await([&] { return member.owned().size() == 1; }));
    rig.world.RunFor(seconds(1));
    rig.cluster.Kill(leader, /*power_loss=*/false);
    rig.world.RunFor(milliseconds(30 * seed));
    member.Ping();
    ASSERT_TRUE(member.Await([&] { return member.pongs == 1; }));
    rig.world.RunFor(seconds(1));
    EXPECT_FALSE(member.status().has_value()) << *member.status();
  }
}

TEST_F(JoinStreamTest, APing_IsAnsweredOnce_AlsoOneBeforeItJoined) {
  const auto member = Member(0, Init("g", "a"));
  member->Ping();
  member->Ping();
  ASSERT_TRUE(Until([&] { return member->pongs == 2; }));
  rig_.world.RunFor(seconds(5));
  EXPECT_EQ(member->pongs, 2U);
  member->Ping();
  EXPECT_EQ(member->pongs, 2U) << "the coordinator answers it, nobody else";
  EXPECT_TRUE(Until([&] { return member->pongs == 3; }, milliseconds(500)));
}

TEST_F(JoinStreamTest, AShortSession_IsToBeHeardThreeTimesInItsTime) {
  v1::JoinInit init = Init("g", "a");
  init.set_session_timeout_ms(1'500);
  const auto member = Owner(0, init);
  ASSERT_EQ(member->joined[0].interval_ms(), 500U);
  member->KeepPinging(milliseconds(500));
  rig_.world.RunFor(seconds(20));
  EXPECT_FALSE(member->status().has_value());
}

// Rule 25: a request that waits for news keeps nobody alive.
TEST_F(JoinStreamTest, Rule25_ASilentClient_IsTakenOutAfterItsTime_ThoughItsStreamIsOpen) {
  v1::JoinInit init = Init("g", "a");
  init.set_session_timeout_ms(8'000);
  const auto member = Owner(0, init);
  rig_.world.RunFor(seconds(7));
  EXPECT_FALSE(member->status().has_value());
  ASSERT_TRUE(Until([&] { return member->status().has_value(); }, seconds(2)));
  EXPECT_EQ(member->status()->code(), Code::kAborted);
  EXPECT_EQ(member->status()->reason(), Reason::kMemberFenced);
  EXPECT_EQ(MemberCount(), 0U);
}

TEST_F(JoinStreamTest, AClientThatPings_OrCommits_StaysIn) {
  v1::JoinInit init = Init("g", "a");
  init.set_session_timeout_ms(4'000);
  const auto pings = Member(0, init);
  pings->KeepPinging();
  init.set_member_id("b");
  const auto commits = Member(1, init);
  for (uint64_t i = 0; i < 10; ++i) {
    rig_.world.RunFor(seconds(3));
    commits->Commit(i, 0, 0);
  }
  EXPECT_FALSE(pings->status().has_value());
  EXPECT_FALSE(commits->status().has_value());
  EXPECT_EQ(MemberCount(), 2U);
}

// Rule 25: "Assignments are state, not a queue: one pending per member; a stream that takes nothing
// for its session time is broken."
TEST_F(JoinStreamTest, Rule25_AClientThatDoesNotRead_IsToldTheNewestAssignmentAlone) {
  const auto one = Owner(0);
  one->does_answer = false;
  one->KeepPinging();
  one->stream().is_stuck = true;
  const auto two = Owner(1, Init("other", "x"));  // another group: nothing of it is told
  rig_.CreateTopic("u1", 1);
  v1::Subscription more;
  more.add_topics("t");
  const size_t told = one->assignments.size();
  for (const std::string topic : {"u1", "u2", "u3", "u4"}) {
    if (topic != "u1") rig_.CreateTopic(topic, 1);
    more.add_topics(topic);
    one->Subscribe(more);
    rig_.world.RunFor(seconds(2));
  }
  EXPECT_EQ(one->assignments.size(), told + 1) << "one is on its way, and no more";
  one->stream().is_stuck = false;
  one->Take();
  EXPECT_EQ(one->assignments.size(), told + 2);
  EXPECT_EQ(one->assigned().size(), kPartitions + 4) << "the newest";
}

TEST_F(JoinStreamTest, Rule25_AClientThatTakesNothing_IsNotHeard_UntilItsTimeIsOver) {
  v1::JoinInit init = Init("g", "a");
  init.set_session_timeout_ms(6'000);
  const auto member = Owner(0, init);
  member->stream().is_stuck = true;
  // Results of what it commits pile up.
  for (uint64_t i = 0; member->stream().is_reading; ++i) {
    ASSERT_LT(i, 100'000U);
    member->Commit(i, 99, 0, "a-topic-that-is-not-there-" + std::string(200, 'x'));
  }
  EXPECT_LT(member->stream().pending_bytes(), 80'000U);
  rig_.world.RunFor(seconds(1));
  EXPECT_FALSE(member->stream().is_reading);
  ASSERT_TRUE(Until([&] { return member->status().has_value(); }, seconds(8)));
  EXPECT_EQ(member->status()->reason(), Reason::kMemberFenced);
}

TEST_F(JoinStreamTest, ALeave_FreesWhatItHad_AndTheStreamEndsWell) {
  const auto one = Owner(0);
  const auto two = Member(1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  one->Leave();
  one->Ping();  // says nothing any more
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  EXPECT_EQ(MemberCount(), 1U);
  ASSERT_TRUE(Until([&] { return ShareAll({two.get()}); }));
  EXPECT_TRUE(two->given_up.empty());
}

TEST_F(JoinStreamTest, AStaticMemberThatWillBeBack_FindsWhatItHad) {
  v1::JoinInit init = Init("g", "a");
  init.set_instance_id("i");
  const auto one = Owner(0, init);
  const auto two = Member(1, Init("g", "b"));
  ASSERT_TRUE(Until([&] { return ShareAll({one.get(), two.get()}); }));
  two->KeepPinging();
  const auto had = one->owned();
  one->Leave(/*will_be_back=*/true);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }));
  EXPECT_TRUE(one->status()->ok()) << *one->status();
  rig_.world.RunFor(seconds(10));
  init.set_member_id("a-2");
  const auto back = Member(2, init);
  ASSERT_TRUE(Until([&] { return back->owned() == had; }));
  EXPECT_TRUE(two->given_up.empty());
  two->Leave(/*will_be_back=*/true);
  ASSERT_TRUE(two->status().has_value());
  EXPECT_EQ(two->status()->code(), Code::kInvalidArgument) << "it has no instance_id";
}

// Rule 17: "it takes the place, epoch and partitions of one whose stream broke".
TEST_F(JoinStreamTest, Rule17_OneWhoseStreamBroke_OrIsHalfClosed_IsReplacedAtOnce) {
  v1::JoinInit init = Init("g", "a");
  init.set_instance_id("i");
  auto one = Owner(0, init);
  const auto had = one->owned();
  init.set_member_id("a-2");
  const auto refused = Member(1, init);
  ASSERT_TRUE(Until([&] { return refused->status().has_value(); }));
  EXPECT_EQ(refused->status()->reason(), Reason::kInstanceIdInUse) << *refused->status();
  one->Cut();
  rig_.world.RunFor(milliseconds(100));
  const auto second = Owner(1, init);
  EXPECT_EQ(second->owned(), had);
  second->HalfClose();
  ASSERT_TRUE(Until([&] { return second->status().has_value(); }, seconds(1)));
  EXPECT_TRUE(second->status()->ok()) << *second->status();
  rig_.world.RunFor(milliseconds(100));
  EXPECT_EQ(MemberCount(), 1U) << "it is a member for its session's time";
  init.set_member_id("a-3");
  const auto third = Owner(2, init);
  EXPECT_EQ(third->owned(), had);
}

// Rule 18: "A member counts its streams; requests of a lower count are refused and that stream is
// ended."
TEST_F(JoinStreamTest, Rule18_ANewerStreamAtAnotherBroker_EndsTheOlderOne_AndGoesOn) {
  const auto one = Owner(0);
  v1::JoinInit init = Init("g", "a");
  init.set_session(2);
  init.set_member_epoch(one->assignments.back().member_epoch());
  for (const auto& [topic, partition] : one->owned()) {
    auto& owned = *init.add_owned();
    owned.set_topic_id(topic);
    owned.add_partitions(partition);
  }
  const auto two = Member(1, init);
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(4)));
  ASSERT_TRUE(Until([&] { return !two->assignments.empty(); }, seconds(4)));
  EXPECT_EQ(one->status()->reason(), Reason::kMemberFenced);
  EXPECT_EQ(two->assigned().size(), kPartitions);
  EXPECT_TRUE(two->given_up.empty());
  EXPECT_EQ(two->assignments.size(), 1U);
  EXPECT_EQ(MemberCount(), 1U);
  // And the older one cannot come back.
  init.set_session(1);
  const auto old = Member(0, init);
  ASSERT_TRUE(Until([&] { return old->status().has_value(); }));
  EXPECT_EQ(old->status()->reason(), Reason::kMemberFenced);
}

TEST_F(JoinStreamTest, AMemberThatIsFenced_IsToldTheGroupsEpoch) {
  const auto one = Owner(0);
  v1::JoinInit init = Init("g", "a");
  init.set_session(2);
  init.set_member_epoch(1'000);
  const auto liar = Member(1, init);
  ASSERT_TRUE(Until([&] { return liar->status().has_value(); }));
  EXPECT_EQ(liar->status()->reason(), Reason::kMemberFenced);
  const Status::Metadata known{
      {"member_epoch", std::to_string(one->assignments.back().member_epoch())}};
  EXPECT_EQ(liar->status()->metadata(), known);
}

// More than may wait for the group's last change: those that are told so are asked again.
TEST_F(JoinStreamTest, AThousandWhoComeAtOnce_AllJoin_AndNoMore) {
  std::vector<std::unique_ptr<MemberStream>> members;
  members.reserve(1'010);
  for (int i = 0; i < 1'010; ++i) {
    members.push_back(Member(static_cast<size_t>(i % 3), Init("g", "m-" + std::to_string(i))));
  }
  const auto is_settled = [](const std::unique_ptr<MemberStream>& member) {
    return !member->joined.empty() || member->status().has_value();
  };
  ASSERT_TRUE(
      Until([&] { return std::all_of(members.begin(), members.end(), is_settled); }, seconds(20)));
  size_t joined = 0;
  for (const auto& member : members) {
    joined += member->joined.size();
    if (!member->status().has_value()) continue;
    EXPECT_EQ(member->status()->code(), Code::kResourceExhausted) << *member->status();
    EXPECT_EQ(member->status()->reason(), Reason::kNone) << *member->status();
  }
  EXPECT_EQ(joined, 1'000U);
  EXPECT_EQ(MemberCount(), 1'000U);
}

TEST_F(JoinStreamTest, AnotherSubscription_MeansAnotherAssignment_AndAWrongOneEndsTheStream) {
  rig_.CreateTopic("u", 2);
  const auto member = Owner(0);
  v1::Subscription subscription;
  subscription.add_topics("u");
  member->Subscribe(subscription);
  ASSERT_TRUE(Until([&] { return member->owned().size() == 2; }));
  EXPECT_EQ(member->owned().begin()->first, rig_.TopicIdOf("u").value());
  EXPECT_EQ(member->given_up.size(), kPartitions);
  member->Subscribe({});
  ASSERT_TRUE(member->status().has_value());
  EXPECT_EQ(member->status()->code(), Code::kInvalidArgument);
}

TEST_F(JoinStreamTest, WithoutACoordinator_TheStreamEnds_AndTheNextOneGoesOn) {
  const auto one = Owner(0);
  const auto had = one->owned();
  rig_.cluster.Kill(1, /*power_loss=*/false);
  rig_.cluster.Kill(2, /*power_loss=*/false);
  one->Ping();
  ASSERT_TRUE(Until([&] { return one->status().has_value(); }, seconds(20)));
  EXPECT_EQ(one->status()->code(), Code::kUnavailable) << *one->status();
  EXPECT_EQ(one->pongs, 0U);
  rig_.cluster.Start(1);
  ASSERT_TRUE(Until([&] { return rig_.cluster.is_serving(1); }));
  v1::JoinInit init = Init("g", "a");
  init.set_session(2);
  init.set_member_epoch(one->assignments.back().member_epoch());
  for (const auto& [topic, partition] : had) {
    auto& owned = *init.add_owned();
    owned.set_topic_id(topic);
    owned.add_partitions(partition);
  }
  const auto two = Member(1, init);
  ASSERT_TRUE(Until([&] { return !two->assignments.empty(); }));
  EXPECT_EQ(two->assigned(), had);
  EXPECT_TRUE(two->given_up.empty());
}

TEST_F(JoinStreamTest, WhatASessionHolds_IsGivenBack) {
  const MemoryBudget& sessions = rig_.cluster.node(0).client_memory().sessions;
  const uint64_t before = sessions.used();
  {
    const auto member = Owner(0);
    EXPECT_GE(sessions.used(), before + 2'048);
  }
  EXPECT_EQ(sessions.used(), before);
}

}  // namespace
}  // namespace millrace::broker

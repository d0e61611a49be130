// Members where their shard is led: who is heard of, who waits for news, when targets are computed,
// and whom a leader takes out.
#include "broker/coordinator/member_server.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/member_requests.h"
#include "proto/base/mutants.h"
#include "raft/host/host.h"
#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/member_rig.h"
#include "tests/raft/host/group_tap.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::MemberReply;
using internal::v1::MemberRequest;

constexpr RaftGroupId kGroup{9};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};

Duration Ms(int64_t ms) { return std::chrono::milliseconds(ms); }

struct Answer {
  std::optional<Result<MemberReply>> reply;  // none: it waits
  bool has_come() const { return reply.has_value(); }
  Status status() const { return has_come() ? reply->status() : Unavailable("it waits"); }
  const v1::Assignment& told() const { return (*reply)->assignment(); }
};

// The only replica of a shard, and the members of a group.
class MemberServerTest : public testing::Test {
 protected:
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Change(Created(1, "t", 2, 8));
    raft::ReplicaRecord record{
        .group = kGroup, .number = kSelf.number, .kind = raft::ReplicaKind::kCoordinator};
    record.configuration.voters = {kSelf};
    shard_.SetLeadershipListener(
        [this](const raft::Leadership& leadership) { members_.OnLeadership(kGroup, leadership); });
    host_.Start();
    host_.CreateReplica(record, /*campaign=*/true, tap_);
    Run(100);
    ASSERT_TRUE(shard_.is_ready());
    led_ = shard_.leadership();
  }
  void TearDown() override {
    active_mutant = Mutant::kNone;
    members_.Stop();
  }

  void Change(const internal::v1::ControllerRecord& record) {
    ASSERT_TRUE(image_.Apply(record).ok());
    ASSERT_TRUE(image_.NoteApplied(image_.applied_index() + 1).ok());
  }
  // The broker stands still.
  void StandStill(int64_t ms) {
    process_.Pause();
    Run(ms);
    process_.Resume();
  }
  void Run(int64_t ms) { world_.RunFor(Ms(ms)); }
  // The same, and those who are named ask each second.
  void RunWith(const std::vector<std::string>& ids, int64_t ms) {
    for (int64_t at = 0; at < ms; at += 1000) {
      for (const std::string& id : ids) Ask(PingOf(id));
      Run(std::min<int64_t>(1000, ms - at));
    }
  }
  Answer& Ask(const MemberRequest& request) {
    Answer& answer = *answers_.emplace_back(std::make_unique<Answer>());
    members_.Ask(kGroup, request, [this, &answer](Result<MemberReply> reply) {
      EXPECT_FALSE(answer.has_come()) << "answered twice";
      answer.reply = std::move(reply);
      if (on_answer_) on_answer_(answer);
    });
    return answer;
  }
  MemberRequest RequestOf(const std::string& id, int32_t epoch, uint64_t session = 1) {
    MemberRequest request;
    request.set_group(group_);
    request.set_member_id(id);
    request.set_session(session);
    request.set_sequence(++sequence_);
    request.set_member_epoch(epoch);
    return request;
  }
  MemberRequest JoinOf(const std::string& id, const std::string& instance = "") {
    MemberRequest request = RequestOf(id, kMemberComes);
    *request.mutable_info() = InfoOf(id, instance);
    return request;
  }
  // As a member that knows how it stands.
  MemberRequest PingOf(const std::string& id, uint32_t wait_ms = 0) {
    MemberRequest request = RequestOf(id, 0);
    const Member* member = Find(id);
    request.set_member_epoch(member == nullptr ? 1 : static_cast<int32_t>(member->epoch));
    if (member != nullptr) request.set_known_version(member->assigned_index.value());
    request.set_wait_ms(wait_ms);
    return request;
  }
  // ... and has given up what it was to.
  MemberRequest GivesOf(const std::string& id) {
    MemberRequest request = PingOf(id);
    request.mutable_owned();
    return request;
  }
  // ... and owns just that.
  MemberRequest OwnsOf(const std::string& id, const Assignment& partitions) {
    MemberRequest request = PingOf(id);
    auto& owned = *request.mutable_owned()->add_topics();
    owned.set_topic_id(kReadTopic.value());
    for (const PartitionId one : partitions.at(kReadTopic)) owned.add_partitions(one.value());
    return request;
  }
  void MakeMembers(const std::vector<std::string>& ids) {
    for (const std::string& id : ids) {
      EXPECT_TRUE(AskAndRun(JoinOf(id)).status().ok());
      for (int i = 0; i < 4; ++i) {
        for (const std::string& one : ids) {
          if (Find(one) != nullptr) Ask(GivesOf(one));
        }
        Run(20);
      }
      Run(100);
      for (int i = 0; i < 4; ++i) {
        for (const std::string& one : ids) {
          if (Find(one) != nullptr) Ask(GivesOf(one));
        }
        Run(20);
      }
    }
  }
  Answer& AskAndRun(const MemberRequest& request) {
    Answer& answer = Ask(request);
    Run(20);
    return answer;
  }
  const Group* FindGroup() const { return shard_.state().Find(group_); }
  const Member* Find(const std::string& id) const {
    return FindGroup() == nullptr ? nullptr : FindGroup()->membership->Find(id);
  }
  size_t HeldBy(const std::string& id) const {
    const Member* member = Find(id);
    return member == nullptr ? 0 : PartitionCountOf(PartitionsOf(member->assigned));
  }
  // Another leader for a while, or the same in another term.
  void LoseLeadership() { shard_.OnLeadership({.term = Term(50), .leader = {}}); }
  void LeadAgain() { shard_.OnLeadership(led_); }

  raft::Leadership led_;
  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  Image image_;
  CoordinatorMemory memory_{CoordinatorLimits{}};
  raft::Host host_{raft::HostOptions{.self = kSelf.holder()},
                   raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
                   process_.Fork()};
  CoordinatorShard shard_{kGroup, CoordinatorShard::Environment{process_.executor(),
                                                                process_.clock(), image_, memory_}};
  raft::GroupTap tap_{shard_};
  int targets_ = 0;
  bool holds_targets_ = false;
  std::vector<Task> held_targets_;
  MemberServer members_{
      {.executor = process_.executor(),
       .clock = process_.clock(),
       .image = image_,
       .memory = memory_,
       .find_shard = [this](RaftGroupId) { return &shard_; },
       .not_leader = [](RaftGroupId) { return Unavailable("not here", Reason::kNotLeader); },
       .aside =
           [this](MoveFunction<MemberServer::Target()> work,
                  MoveFunction<void(MemberServer::Target)> done) {
             ++targets_;
             Task task = [work = std::move(work), done = std::move(done)]() mutable {
               done(work());
             };
             if (holds_targets_) return held_targets_.push_back(std::move(task));
             process_.executor().Post(std::move(task));
           }}};
  std::string group_ = "g";
  uint64_t sequence_ = 0;
  std::vector<std::unique_ptr<Answer>> answers_;
  std::function<void(const Answer&)> on_answer_;
};

TEST_F(MemberServerTest, TheFirstMember_HasAllAtOnce) {
  const Answer& joined = AskAndRun(JoinOf("a"));
  ASSERT_TRUE(joined.status().ok()) << joined.status();
  EXPECT_EQ(HeldBy("a"), 8U);
}

// Rule 20: "a target is computed 50 ms after the first change."
TEST_F(MemberServerTest, Rule20_AHundredThatComeTogether_HaveFewTargets) {
  MakeMembers({"a"});
  targets_ = 0;
  for (int i = 0; i < 100; ++i) Ask(JoinOf("m" + std::to_string(i)));
  Run(49);
  EXPECT_EQ(targets_, 0);
  Run(51);
  EXPECT_EQ(targets_, 1);
  EXPECT_EQ(FindGroup()->membership->members().size(), 101U);
}

TEST_F(MemberServerTest, WhoIsSilentForItsSessionsTime_IsTakenOut_AndOthersGetWhatItHad) {
  MakeMembers({"a", "b"});
  EXPECT_EQ(HeldBy("a"), 4U);
  RunWith({"a"}, 29'000);
  EXPECT_NE(Find("b"), nullptr);
  RunWith({"a"}, 2'000);
  EXPECT_EQ(Find("b"), nullptr);
  EXPECT_EQ(HeldBy("a"), 8U);
  EXPECT_EQ(AskAndRun(PingOf("b")).status().reason(), Reason::kMemberFenced);
  MemberRequest anew = JoinOf("b");
  anew.set_sequence(1);
  EXPECT_TRUE(AskAndRun(anew).status().ok()) << "nothing is known of it any more";
}

// Rule 25: "Assignments are state, not a queue": who never asks is silent.
TEST_F(MemberServerTest, Rule25_WhoNeverAsks_IsTakenOut) {
  Ask(JoinOf("a"));
  Run(31'000);
  EXPECT_EQ(Find("a"), nullptr);
}

TEST_F(MemberServerTest, AShortSession_LastsWhileItsRequestWaits) {
  MemberRequest join = JoinOf("a");
  join.mutable_info()->set_session_timeout_ms(1000);
  AskAndRun(join);
  for (int i = 0; i < 10; ++i) {
    const Answer& answer = Ask(PingOf("a", 60'000));
    for (int at = 0; at < 100 && !answer.has_come(); ++at) Run(10);
    EXPECT_TRUE(answer.has_come()) << "it waits no longer than it is to be silent";
    ASSERT_TRUE(answer.status().ok()) << answer.status();
  }
}

// Rule 3: "a new leader gives every member and every lease its full time again, from when it is
// ready."
TEST_F(MemberServerTest, Rule3_ANewLeader_GivesEverybodyTheirFullTime) {
  MakeMembers({"a"});
  Run(28'000);
  LoseLeadership();
  Run(10'000);
  EXPECT_NE(Find("a"), nullptr);
  LeadAgain();
  Run(29'000);
  EXPECT_NE(Find("a"), nullptr);
  Run(2'000);
  EXPECT_EQ(Find("a"), nullptr);
}

// Rule 4: "After a gap of more than one heartbeat between two ticks a coordinator restarts all
// timers."
TEST_F(MemberServerTest, Rule4_ALeaderThatWasStopped_TakesNobodyOutForIt) {
  MakeMembers({"a", "b"});
  StandStill(40'000);
  RunWith({"a"}, 29'000);
  EXPECT_NE(Find("b"), nullptr);
  RunWith({"a"}, 2'000);
  EXPECT_EQ(Find("b"), nullptr);
  active_mutant = Mutant::kExpireAfterPause;
  StandStill(40'000);
  Run(1'000);
  EXPECT_EQ(Find("a"), nullptr);
}

TEST_F(MemberServerTest, Rule4_AShortSession_DoesNotEndByAPauseOfItsInterval) {
  MemberRequest join = JoinOf("a");
  join.mutable_info()->set_session_timeout_ms(3000);
  AskAndRun(join);
  Run(900);
  StandStill(2'500);
  Run(500);
  EXPECT_NE(Find("a"), nullptr);
}

// Rule 15: "Who does not give up in revoke_timeout is fenced."
TEST_F(MemberServerTest, Rule15_WhoDoesNotGiveUpInTime_IsTakenOut) {
  MakeMembers({"a"});
  Ask(JoinOf("b"));
  RunWith({"a", "b"}, 59'000);
  ASSERT_NE(Find("a"), nullptr);
  EXPECT_FALSE(Find("a")->revoking.empty());
  RunWith({"a", "b"}, 2'000);
  EXPECT_EQ(Find("a"), nullptr);
  EXPECT_EQ(HeldBy("b"), 8U);
  EXPECT_EQ(FindGroup()->membership->events().back().kind(), v1::GROUP_EVENT_KIND_REVOKE_ENDED);
}

TEST_F(MemberServerTest, WhoGivesUpAPartInTime_IsTakenOutForTheRest) {
  MakeMembers({"a"});
  Ask(JoinOf("b"));
  RunWith({"a", "b"}, 30'000);
  Assignment left = PartitionsOf(Find("a")->revoking);
  ASSERT_GT(PartitionCountOf(left), 1U);
  const PartitionId first = *left.at(kReadTopic).begin();
  left = Difference(
      left, Assignment{{kReadTopic, PartitionRuns({first, PartitionId(first.value() + 1)})}});
  AskAndRun(OwnsOf("a", left));
  ASSERT_EQ(PartitionsOf(Find("a")->revoking), left);
  RunWith({"a", "b"}, 31'000);
  EXPECT_EQ(Find("a"), nullptr);
}

TEST_F(MemberServerTest, WhatIsToBeGivenUpLater_HasItsOwnTime) {
  MakeMembers({"a"});
  Ask(JoinOf("b"));
  RunWith({"a", "b"}, 50'000);
  const Assignment first = PartitionsOf(Find("a")->revoking);
  Ask(JoinOf("c"));
  RunWith({"a", "b", "c"}, 1'000);
  const Assignment second = Difference(PartitionsOf(Find("a")->revoking), first);
  ASSERT_FALSE(second.empty());
  AskAndRun(OwnsOf("a", Union(PartitionsOf(Find("a")->assigned), second)));
  ASSERT_EQ(PartitionsOf(Find("a")->revoking), second);
  RunWith({"a", "b", "c"}, 55'000);
  EXPECT_NE(Find("a"), nullptr);
  RunWith({"a", "b", "c"}, 7'000);
  EXPECT_EQ(Find("a"), nullptr);
}

// Rule 18: "requests of a lower count are refused", and what is late of one stream.
TEST_F(MemberServerTest, Rule18_WhatIsLate_IsFenced_AndALateEndOfAStreamEndsNothing) {
  MakeMembers({"a"});
  const MemberRequest late = PingOf("a");
  EXPECT_TRUE(AskAndRun(PingOf("a")).status().ok());
  EXPECT_EQ(Ask(late).status().reason(), Reason::kMemberFenced);
  MemberRequest newer = PingOf("a");
  newer.set_session(2);
  *newer.mutable_info() = InfoOf("a");
  EXPECT_TRUE(AskAndRun(newer).status().ok());
  MemberRequest broken = PingOf("a");
  broken.set_is_broken(true);
  EXPECT_EQ(Ask(broken).status().reason(), Reason::kMemberFenced) << "the older stream broke";
  active_mutant = Mutant::kTwoSessions;
  EXPECT_TRUE(AskAndRun(late).status().ok());
}

TEST_F(MemberServerTest, Rule17_WhoseStreamBroke_IsReplacedAtOnce_AndWhoPingsIsNot) {
  AskAndRun(JoinOf("a", "one"));
  EXPECT_EQ(AskAndRun(JoinOf("b", "one")).status().reason(), Reason::kInstanceIdInUse);
  MemberRequest broken = PingOf("a");
  broken.set_is_broken(true);
  EXPECT_TRUE(Ask(broken).status().ok());
  EXPECT_TRUE(AskAndRun(JoinOf("b", "one")).status().ok());
  EXPECT_EQ(Find("a"), nullptr);
  Run(7'000);
  EXPECT_TRUE(AskAndRun(JoinOf("c", "one")).status().ok()) << "b is not heard of";
}

TEST_F(MemberServerTest, AWaitingRequest_IsAnsweredOnNews) {
  MakeMembers({"a"});
  const Answer& answer = Ask(PingOf("a", 3'000));
  Run(500);
  EXPECT_FALSE(answer.has_come());
  Ask(JoinOf("b"));
  Run(100);
  ASSERT_TRUE(answer.status().ok()) << answer.status();
  EXPECT_EQ(answer.told().revoked_size(), 1);
}

TEST_F(MemberServerTest, AWaitingRequest_IsAnsweredByTheNext_AtItsTime_AndAtTheEndOfTheTerm) {
  MakeMembers({"a"});
  const Answer& first = Ask(PingOf("a", 3'000));
  Run(100);
  const Answer& second = Ask(PingOf("a", 2'000));
  EXPECT_TRUE(first.status().ok());
  Run(1'900);
  EXPECT_FALSE(second.has_come());
  Run(500);
  EXPECT_TRUE(second.status().ok());
  const Answer& third = Ask(PingOf("a", 3'000));
  Run(100);
  LoseLeadership();
  EXPECT_EQ(third.status().reason(), Reason::kNotLeader);
  EXPECT_EQ(Ask(PingOf("a")).status().reason(), Reason::kNotLeader);
}

TEST_F(MemberServerTest, WhoseNextRequestIsThere_IsAnsweredAtOnce) {
  MakeMembers({"a"});
  const Answer& first = Ask(PingOf("a", 3'000));
  const Answer& second = Ask(PingOf("a"));
  Run(50);
  EXPECT_TRUE(first.has_come());
  EXPECT_TRUE(second.has_come());
}

TEST_F(MemberServerTest, LeadershipLostBeforeADecision_IsToldSo_AndTheMemberMayBeThere) {
  const Answer& joined = Ask(JoinOf("a"));
  world_.RunFor(Duration::zero());
  LoseLeadership();
  EXPECT_EQ(joined.status().code(), Code::kUnavailable);
  Run(100);
  LeadAgain();
  Run(100);
  EXPECT_TRUE(AskAndRun(JoinOf("a")).status().ok());
  EXPECT_EQ(FindGroup()->membership->members().size(), 1U);
}

// Whoever is answered asks again at once, from within the answer; also one that was just told that
// it is out.
TEST_F(MemberServerTest, WhoAsksAgainFromWithinItsAnswer_IsServed) {
  MakeMembers({"a", "b", "c"});
  std::vector<const Answer*> waiting;
  for (const char* id : {"a", "b", "c"}) waiting.push_back(&Ask(PingOf(id, 3'000)));
  Run(50);
  int again = 0;
  on_answer_ = [this, &again](const Answer&) {
    if (++again > 40) return;
    for (const char* id : {"a", "b", "c"}) Ask(PingOf(id, 3'000));
  };
  MemberRequest leave = RequestOf("b", kMemberGoes);
  Ask(leave);
  Run(10'000);
  EXPECT_GT(again, 40);
  EXPECT_EQ(Find("b"), nullptr);
  EXPECT_EQ(FindGroup()->membership->members().size(), 2U);
}

TEST_F(MemberServerTest, WhenTopicsChange_ATargetIsComputed) {
  MakeMembers({"a"});
  EXPECT_EQ(HeldBy("a"), 8U);
  const uint32_t epoch = FindGroup()->epoch;
  Change(Deleted(1, 0));
  Change(Created(2, "t", 20, 3, 2'000'000));
  Run(500);
  EXPECT_EQ(FindGroup()->epoch, epoch + 1);
  AskAndRun(GivesOf("a"));
  EXPECT_EQ(HeldBy("a"), 3U);
}

// Rule 26: "a result for an older epoch is dropped", and one for the newer is computed.
TEST_F(MemberServerTest, Rule26_ATargetForAnOlderEpoch_IsDroppedAndComputedAgain) {
  holds_targets_ = true;
  AskAndRun(JoinOf("a"));
  ASSERT_EQ(held_targets_.size(), 1U);
  AskAndRun(JoinOf("b"));
  Run(200);
  EXPECT_EQ(held_targets_.size(), 1U) << "one at a time";
  holds_targets_ = false;
  held_targets_[0]();
  Run(200);
  EXPECT_EQ(FindGroup()->membership->target_epoch(), 2U);
  EXPECT_EQ(HeldBy("a"), 4U);
  EXPECT_EQ(HeldBy("b"), 4U);
}

TEST_F(MemberServerTest, AGroupDeletedAndMadeAnew_WhileRequestsWaitAndATargetIsComputed) {
  holds_targets_ = true;
  AskAndRun(JoinOf("a"));
  const Answer& waiting = Ask(PingOf("a", 3'000));
  Run(50);
  Ask(RequestOf("a", kMemberGoes));
  shard_.Execute({.key = group_,
                  .is_alone = true,
                  .bytes = 1,
                  .decide =
                      [this](const ShardState& state) {
                        v1::DeleteGroupRequest request;
                        request.set_group(group_);
                        return DecideDeleteGroup(state, request);
                      },
                  .done = [](const Status& status) { EXPECT_TRUE(status.ok()) << status; }});
  Ask(JoinOf("b"));
  Run(50);
  EXPECT_TRUE(waiting.has_come());
  EXPECT_EQ(Find("a"), nullptr);
  ASSERT_NE(Find("b"), nullptr);
  holds_targets_ = false;
  for (Task& task : held_targets_) task();
  Run(500);
  EXPECT_EQ(HeldBy("b"), 8U);
}

TEST_F(MemberServerTest, MoreThanMayWaitForAGroup_AreThrottled_AndNobodyIsTakenOutForIt) {
  MakeMembers({"a"});
  Ask(JoinOf("b"));
  int throttled = 0;
  for (int i = 0; i < 1'200; ++i) {
    if (Ask(PingOf("a")).status().reason() == Reason::kThrottled) ++throttled;
  }
  EXPECT_EQ(throttled, 200);
  Run(1'000);
  EXPECT_TRUE(AskAndRun(PingOf("a")).status().ok());
  EXPECT_NE(Find("b"), nullptr);
}

TEST_F(MemberServerTest, WhoIsAway_IsTakenOutOnceItsTimeIsOver) {
  AskAndRun(JoinOf("a", "one"));
  Ask(RequestOf("a", kMemberGoesAway));
  Run(29'000);
  EXPECT_NE(Find("a"), nullptr);
  Run(2'000);
  EXPECT_EQ(Find("a"), nullptr);
}

}  // namespace
}  // namespace millrace::broker

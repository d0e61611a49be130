// What members ask and what becomes of it: each refusal by its code, reason and words. How members
// come to have partitions is said by tests/broker/coordinator/scenarios.
#include "broker/coordinator/member_requests.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/coordinator/sweep.h"
#include "proto/base/mutants.h"
#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecords;
using internal::v1::MemberReply;
using internal::v1::MemberRequest;

MemberRequest Ping(const std::string& id, int32_t epoch = 1, uint64_t session = 1) {
  MemberRequest request;
  request.set_group("g");
  request.set_member_id(id);
  request.set_session(session);
  request.set_member_epoch(epoch);
  return request;
}

MemberRequest Join(const std::string& id, const std::string& instance = "", uint64_t session = 1) {
  MemberRequest request = Ping(id, kMemberComes, session);
  *request.mutable_info() = InfoOf(id, instance);
  return request;
}

// It writes in transactions of "payments".
MemberRequest WithProducer(MemberRequest request, uint64_t producer_id, uint32_t epoch) {
  auto& producer = *request.mutable_info()->mutable_producer();
  producer.set_transactional_id("payments");
  producer.set_producer_id(producer_id);
  producer.set_producer_epoch(epoch);
  return request;
}

class MemberRequestsTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(image_.Apply(Created(1, "t", 2, 8)).ok()); }
  void TearDown() override { active_mutant = Mutant::kNone; }

  CoordinatorDecision Decide(const MemberRequest& request) {
    return DecideMember(state_, {.image = image_, .is_memory_full = is_full_}, request,
                        [this](const std::string&) { return pings_; });
  }
  Status Ask(const MemberRequest& request) {
    const CoordinatorDecision decision = Decide(request);
    if (decision.ok()) Apply(*decision);
    return decision.status();
  }
  void Apply(const CoordinatorRecords& records) {
    last_ = last_ + 1;
    for (const auto& record : records.records()) {
      const Status applied = state_.Apply(record, {.index = last_, .time_ms = time_ms_});
      ASSERT_TRUE(applied.ok()) << applied;
    }
  }
  void RaiseToTransactions() {
    internal::v1::ControllerRecord raised;
    raised.mutable_level_raised()->set_level(kTransactionLevel);
    ASSERT_TRUE(image_.Apply(raised).ok());
  }
  void SetTarget(const std::vector<std::pair<std::string, std::string>>& members) {
    const uint32_t epoch = state_.Find("g")->epoch;
    const CoordinatorDecision decision = DecideTarget(state_, "g", epoch, TargetOf(epoch, members));
    ASSERT_TRUE(decision.ok());
    Apply(*decision);
  }
  const Member* Find(const std::string& id) const {
    const Group* group = state_.Find("g");
    return group == nullptr ? nullptr : group->membership->Find(id);
  }
  // a has 0-3 since epoch 2, and gives up 4-5, which it has since epoch 1; b waits for these.
  void MakeTwo() {
    ASSERT_TRUE(Ask(Join("a")).ok());
    SetTarget({{"a", "0-5"}});
    ASSERT_TRUE(Ask(Join("b")).ok());
    SetTarget({{"a", "0-3"}, {"b", "4-5"}});
    ASSERT_EQ(ToText(Find("a")->revoking), "4-5@1");
  }
  void ExpectRefused(const MemberRequest& request, Code code, Reason reason,
                     const std::string& words) {
    const CoordinatorDecision decision = Decide(request);
    EXPECT_EQ(decision.status().code(), code);
    EXPECT_EQ(decision.status().reason(), reason);
    EXPECT_EQ(decision.status().message(), words);
  }
  void ExpectInvalid(const MemberRequest& request, const std::string& words,
                     Code code = Code::kInvalidArgument) {
    EXPECT_EQ(CheckMember(request).code(), code);
    EXPECT_EQ(CheckMember(request).message(), words);
  }
  // As partitions with what is said of them.
  std::vector<std::pair<uint32_t, std::string>> Commit(const std::string& member, int32_t epoch,
                                                       const std::string& partitions) {
    const v1::CommitOffsetsRequest request = CommitOf(member, epoch, partitions);
    v1::CommitOffsetsResponse response;
    const CoordinatorDecision decision =
        DecideCommit(state_, {.image = image_}, request, &response);
    EXPECT_TRUE(decision.ok()) << decision.status();
    if (decision.ok()) Apply(*decision);
    std::vector<std::pair<uint32_t, std::string>> refused;
    for (const auto& one : response.refused()) {
      EXPECT_EQ(one.error().code(), static_cast<int>(Code::kFailedPrecondition));
      refused.emplace_back(one.partition(), one.error().info().reason());
    }
    return refused;
  }
  static v1::CommitOffsetsRequest CommitOf(const std::string& member, int32_t epoch,
                                           const std::string& partitions) {
    v1::CommitOffsetsRequest request;
    request.set_group("g");
    request.set_member_id(member);
    request.set_member_epoch(epoch);
    auto& topic = *request.add_topics();
    topic.set_topic("t");
    topic.set_topic_id(kReadTopic.value());
    const Assignment committed = Partitions(partitions);
    for (const PartitionId partition : committed.at(kReadTopic)) {
      auto& commit = *topic.add_partitions();
      commit.set_partition(partition.value());
      commit.set_offset(7);
    }
    return request;
  }

  Image image_;
  ShardState state_;
  LogIndex last_;
  int64_t time_ms_ = 5;
  bool pings_ = true;
  bool is_full_ = false;
};

using Refused = std::vector<std::pair<uint32_t, std::string>>;

TEST_F(MemberRequestsTest, WhatCanBeNoMembers_IsRefused) {
  EXPECT_TRUE(CheckMember(Join("a")).ok());
  EXPECT_TRUE(CheckMember(Ping("a")).ok());
  ExpectInvalid(Ping(""), "member_id is empty");
  MemberRequest request = Join("a");
  request.set_group("");
  ExpectInvalid(request, "group is empty");
  ExpectInvalid(Ping("a", 1, 0), "session is 0; the first one is 1");
  ExpectInvalid(Ping("a", -3), "member_epoch is -3");
  request = Join("a", std::string(250, 'i'));
  ExpectInvalid(request, "instance_id of 250 bytes is longer than 249");
  request = Join("a");
  request.mutable_info()->set_session_timeout_ms(999);
  ExpectInvalid(request, "session_timeout_ms is 999, not 1000 to 1800000");
  request = Join("a");
  request.mutable_info()->set_revoke_timeout_ms(1'800'001);
  ExpectInvalid(request, "revoke_timeout_ms is 1800001, not 1000 to 1800000");
  request = Join("a");
  request.mutable_info()->set_assignor("best");
  EXPECT_EQ(CheckMember(request).code(), Code::kInvalidArgument);
  request = Join("a");
  request.mutable_info()->clear_subscription();
  ExpectInvalid(request, "a subscription names no topic and no pattern");
  request.mutable_info()->mutable_subscription()->set_pattern("(");
  EXPECT_EQ(CheckMember(request).code(), Code::kInvalidArgument);
  request = Join("a");
  for (int i = 0; i < 1000; ++i) request.mutable_info()->mutable_subscription()->add_topics("u");
  ExpectInvalid(request, "a subscription to 1001 topics names more than 1000");
}

// What a request says of somebody else, or in a way that this version does not know, would end
// every leader that decides on it.
TEST_F(MemberRequestsTest, WhatWouldFollowFromNoRecord_IsRefused) {
  MemberRequest request = Join("a");
  request.mutable_info()->set_member_id("b");
  ExpectInvalid(request, "what member \"a\" of group \"g\" says of itself is of member \"b\"");
  request = Join("a");
  request.mutable_info()->clear_native();
  ExpectInvalid(request,
                "member \"a\" of group \"g\" takes part in a way that this version does not know",
                Code::kUnimplemented);
  request = Ping("a");
  auto& topic = *request.mutable_owned()->add_topics();
  topic.set_topic_id(1);
  topic.add_partitions(9'999);
  EXPECT_TRUE(CheckMember(request).ok());
  topic.add_partitions(UINT32_MAX);
  ExpectInvalid(request, "partition 4294967295 is owned, and no topic has more than 10000");
}

TEST_F(MemberRequestsTest, AMembersStreamIsTheRequests_AndWhoComesIsNotAway) {
  MemberRequest request = Join("a", "one", 5);
  request.mutable_info()->set_is_away(true);
  ASSERT_TRUE(Ask(request).ok());
  EXPECT_EQ(Find("a")->info.session(), 5U);
  EXPECT_FALSE(Find("a")->info.is_away());
}

TEST_F(MemberRequestsTest, WhoIsNotThere_IsFenced) {
  const std::string words = "member \"a\" of group \"g\" is not known: it was taken out";
  ExpectRefused(Ping("a", 3), Code::kAborted, Reason::kMemberFenced, words);
  ExpectRefused(Ping("a", kMemberComes), Code::kAborted, Reason::kMemberFenced, words);
  MemberReply reply;
  EXPECT_EQ(AnswerMember(state_, image_, Ping("a"), &reply).message(), words);
  EXPECT_TRUE(Ask(Ping("a", kMemberGoes)).ok()) << "it is gone already";
  EXPECT_TRUE(Ask(Ping("a", kMemberGoesAway)).ok());
  EXPECT_EQ(state_.group_count(), 0U);
}

TEST_F(MemberRequestsTest, AnEpochThatWasNotReached_IsFenced_AndAnEarlierOneIsNot) {
  MakeTwo();
  ExpectRefused(Ping("a", 3), Code::kAborted, Reason::kMemberFenced,
                "member \"a\" of group \"g\" is of epoch 1, not 3");
  EXPECT_TRUE(Decide(Ping("a", 1)).ok());
  EXPECT_TRUE(Decide(Ping("b", 1)).ok());
}

// Rule 18: "A member counts its streams; requests of a lower count are refused and that stream is
// ended."
TEST_F(MemberRequestsTest, Rule18_AnOlderStream_IsFenced) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  ExpectRefused(Ping("a", 1, 3), Code::kAborted, Reason::kMemberFenced,
                "member \"a\" of group \"g\" says nothing of itself in its new stream");
  MemberRequest newer = Join("a", "", 3);
  newer.set_member_epoch(1);
  ASSERT_TRUE(Ask(newer).ok());
  for (const int32_t epoch : {0, 1, -1, -2}) {
    ExpectRefused(Ping("a", epoch, 2), Code::kAborted, Reason::kMemberFenced,
                  "member \"a\" of group \"g\" has a newer stream, session 3");
  }
  EXPECT_EQ(state_.Find("g")->epoch, 1U) << "a stream changes nobody's target";
  active_mutant = Mutant::kTwoSessions;
  EXPECT_TRUE(Decide(Ping("a", 1, 2)).ok());
}

// Rule 14: "a keep-alive without a list releases nothing."
TEST_F(MemberRequestsTest, Rule14_WhoSaysNothingOfWhatItOwns_HasLetGoOfNothing) {
  MakeTwo();
  MemberRequest ping = Ping("a");
  ping.set_known_version(Find("a")->assigned_index.value());
  EXPECT_TRUE(Decide(ping)->records().empty());
  active_mutant = Mutant::kConfirmIsDelta;
  EXPECT_FALSE(Decide(ping)->records().empty());
}

TEST_F(MemberRequestsTest, ADigestThatIsNotTheOthers_IsRefused) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  MemberRequest other = Join("b");
  other.mutable_info()->mutable_subscription()->set_digest("v2");
  ExpectRefused(other, Code::kFailedPrecondition, Reason::kNone,
                "member \"b\" of group \"g\" has another digest than member \"a\"");
  MemberRequest own = Join("a");
  *own.mutable_info()->mutable_subscription() = other.info().subscription();
  EXPECT_TRUE(Ask(own).ok()) << "alone it may change its mind";
  EXPECT_TRUE(Ask(other).ok());
}

// Rule 17: "The newcomer is refused while the old one pings; it takes the place, epoch and
// partitions of one whose stream broke or that said it would be back."
TEST_F(MemberRequestsTest, Rule17_AnInstanceId_IsOneMembers) {
  ASSERT_TRUE(Ask(Join("a", "one")).ok());
  SetTarget({{"a", "0-3"}});
  const std::string words = "instance_id \"one\" of group \"g\" is in use by member \"a\"";
  ExpectRefused(Join("b", "one"), Code::kFailedPrecondition, Reason::kInstanceIdInUse, words);
  ASSERT_TRUE(Ask(Join("c")).ok());
  pings_ = false;
  MemberRequest renamed = Join("c", "one");
  ExpectRefused(renamed, Code::kFailedPrecondition, Reason::kInstanceIdInUse, words);
  pings_ = true;
  ASSERT_TRUE(Ask(Ping("a", kMemberGoesAway)).ok());
  EXPECT_TRUE(Find("a")->info.is_away());
  ASSERT_TRUE(Ask(Join("b", "one")).ok()) << "that one went, and will be back";
  EXPECT_EQ(Find("a"), nullptr);
  EXPECT_EQ(ToText(Find("b")->assigned), "0-3@3");
  pings_ = false;
  ASSERT_TRUE(Ask(Join("d", "one")).ok()) << "that one is not heard of";
  EXPECT_EQ(ToText(Find("d")->assigned), "0-3@5") << "a larger token than both had";
  EXPECT_EQ(state_.Find("g")->membership->members().size(), 2U);
}

TEST_F(MemberRequestsTest, WhoHasNoInstanceId_CannotGoAway) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  ExpectRefused(Ping("a", kMemberGoesAway), Code::kInvalidArgument, Reason::kNone,
                "member \"a\" of group \"g\" has no instance_id, by which it could be back");
}

TEST_F(MemberRequestsTest, WhoIsAway_IsBackWithItsFirstWord_InAStreamThatSaysWhoItIs) {
  ASSERT_TRUE(Ask(Join("a", "one")).ok());
  ASSERT_TRUE(Ask(Ping("a", kMemberGoesAway)).ok());
  EXPECT_TRUE(Decide(Ping("a", kMemberGoesAway))->records().empty()) << "it went already";
  EXPECT_EQ(Decide(Ping("a")).status().reason(), Reason::kMemberFenced);
  MemberRequest back = Join("a", "one", 2);
  back.set_member_epoch(1);
  ASSERT_TRUE(Ask(back).ok());
  EXPECT_FALSE(Find("a")->info.is_away());
  EXPECT_EQ(state_.Find("g")->epoch, 1U);
}

TEST_F(MemberRequestsTest, AGroup_HasAThousandMembers) {
  for (int i = 0; i < 1000; ++i)
    ASSERT_TRUE(Ask(Join("m" + std::to_string(i), i == 0 ? "s" : "")).ok());
  ExpectRefused(Join("more"), Code::kResourceExhausted, Reason::kNone,
                "group \"g\" has 1000 members, and takes no more");
  EXPECT_TRUE(Decide(Join("m5")).ok());
  pings_ = false;
  EXPECT_TRUE(Decide(Join("more", "s")).ok()) << "in the place of another it is none more";
}

TEST_F(MemberRequestsTest, WhereTheMemoryIsFull_NobodyNewComes) {
  ASSERT_TRUE(Ask(Join("a", "one")).ok());
  is_full_ = true;
  ExpectRefused(Join("b"), Code::kResourceExhausted, Reason::kNone,
                "member \"b\" of group \"g\" is new, and the coordinator's memory is full "
                "(--coordinator-memory-bytes-max)");
  EXPECT_TRUE(Decide(Ping("a")).ok());
  pings_ = false;
  EXPECT_TRUE(Decide(Join("b", "one")).ok());
}

// Rule 26: "a result for an older epoch is dropped."
TEST_F(MemberRequestsTest, Rule26_ATargetForAnOlderEpoch_IsDropped) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  ASSERT_TRUE(Ask(Join("b")).ok());
  EXPECT_TRUE(DecideTarget(state_, "g", 1, TargetOf(1, {{"a", "0"}}))->records().empty());
  EXPECT_TRUE(DecideTarget(state_, "h", 1, TargetOf(1, {}))->records().empty());
  EXPECT_TRUE(DecideTarget(state_, "g", 2, internal::v1::TargetComputed())->records().empty());
}

// The group was deleted and made anew while its target was computed.
TEST_F(MemberRequestsTest, ATargetOfAGroupThatWasBefore_IsDropped) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  const internal::v1::TargetComputed target = TargetOf(1, {{"a", "0-7"}});
  ASSERT_TRUE(Ask(Ping("a", kMemberGoes)).ok());
  v1::DeleteGroupRequest request;
  request.set_group("g");
  Apply(*DecideDeleteGroup(state_, request));
  ASSERT_TRUE(Ask(Join("b")).ok());
  ASSERT_EQ(state_.Find("g")->epoch, 3U) << "epochs go on";
  EXPECT_TRUE(DecideTarget(state_, "g", 1, target)->records().empty());
}

TEST_F(MemberRequestsTest, AnAnswer_SaysWhatTheMemberHas_AndWhereItGoesOn) {
  MakeTwo();
  ASSERT_EQ(Commit("a", 1, "2"), Refused());
  MemberReply reply;
  ASSERT_TRUE(AnswerMember(state_, image_, Ping("a"), &reply).ok());
  EXPECT_EQ(reply.interval_ms(), 3000U);
  const v1::Assignment& told = reply.assignment();
  EXPECT_EQ(told.version(), Find("a")->assigned_index.value());
  EXPECT_EQ(told.member_epoch(), 1);
  ASSERT_EQ(told.topics_size(), 1);
  EXPECT_EQ(told.topics(0).topic(), "t");
  ASSERT_EQ(told.topics(0).partitions_size(), 4);
  EXPECT_EQ(told.topics(0).partitions(2).offset(), 7);
  EXPECT_EQ(told.topics(0).partitions(2).fencing_token(), 1U);
  EXPECT_FALSE(told.topics(0).partitions(3).has_offset());
  ASSERT_EQ(told.revoked_size(), 1);
  EXPECT_EQ(told.revoked(0).partitions_size(), 2);
}

// Who is silent for its session's time is taken out: it is to be heard more often than that.
TEST_F(MemberRequestsTest, AShortSession_IsToBeHeardOftener) {
  MemberRequest request = Join("a");
  request.mutable_info()->set_session_timeout_ms(1500);
  ASSERT_TRUE(Ask(request).ok());
  MemberReply reply;
  ASSERT_TRUE(AnswerMember(state_, image_, Ping("a"), &reply).ok());
  EXPECT_EQ(reply.interval_ms(), 500U);
}

// Rule 24: "A partition that came to be after the group's first assignment of its topic is read
// from its start."
TEST_F(MemberRequestsTest, Rule24_APartitionThatCameLater_IsToldSo) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  Apply(*DecideTarget(state_, "g", 1, TargetOf(1, {{"a", "0-1"}}, 2)));
  Apply(*DecideTarget(state_, "g", 1, TargetOf(2, {{"a", "0-2"}}, 3)));
  MemberReply reply;
  ASSERT_TRUE(AnswerMember(state_, image_, Ping("a"), &reply).ok());
  const auto& partitions = reply.assignment().topics(0).partitions();
  ASSERT_EQ(partitions.size(), 3);
  EXPECT_FALSE(partitions[1].is_later());
  EXPECT_TRUE(partitions[2].is_later());
}

// Rule 13: "A commit counts for a partition iff assigned epoch <= its epoch <= the member's epoch,
// and the partition is assigned to or being revoked from that member."
TEST_F(MemberRequestsTest, Rule13_ACommitCounts_ForWhoHasThePartition_SinceAnEpochThatItKnows) {
  MakeTwo();
  EXPECT_EQ(Commit("a", 1, "0-5"), Refused()) << "what it gives up counts";
  EXPECT_EQ(Commit("a", 0, "0"), (Refused{{0, "MEMBER_STALE"}}));
  EXPECT_EQ(Commit("a", 1, "6"), (Refused{{6, "MEMBER_STALE"}}));
  EXPECT_EQ(Commit("b", 2, "4"), (Refused{{4, "MEMBER_STALE"}})) << "it is not b's yet";
  MemberRequest gives = Ping("a");
  gives.set_known_version(Find("a")->assigned_index.value());
  gives.mutable_owned();
  ASSERT_TRUE(Ask(gives).ok());
  EXPECT_EQ(Commit("a", 1, "0,4"), (Refused{{4, "MEMBER_STALE"}}));
  EXPECT_EQ(Commit("a", 2, "0"), Refused());
  EXPECT_EQ(Commit("b", 2, "4"), Refused());
  EXPECT_EQ(Commit("b", 1, "4"), (Refused{{4, "MEMBER_STALE"}}));
  v1::CommitOffsetsResponse response;
  Status refused =
      DecideCommit(state_, {.image = image_}, CommitOf("a", 3, "0"), &response).status();
  EXPECT_EQ(refused.code(), Code::kAborted);
  EXPECT_EQ(refused.reason(), Reason::kMemberFenced);
  EXPECT_EQ(refused.message(), "member \"a\" of group \"g\" is of epoch 2, not 3");
  active_mutant = Mutant::kCommitIgnoresAssignedEpoch;
  EXPECT_EQ(Commit("a", 2, "4"), Refused());
}

// Rule 18, of commits: one that went by an older stream may come behind those of the newer one.
TEST_F(MemberRequestsTest, Rule18_ACommitOfAnOlderStream_IsRefused_OnceThereIsANewerOne) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  SetTarget({{"a", "0-5"}});
  MemberRequest back = Ping("a", 1, 2);
  *back.mutable_info() = InfoOf("a");
  ASSERT_TRUE(Ask(back).ok());
  v1::CommitOffsetsRequest late = CommitOf("a", 1, "0");
  late.set_member_session(1);
  v1::CommitOffsetsResponse response;
  const Status refused = DecideCommit(state_, {.image = image_}, late, &response).status();
  EXPECT_EQ(refused.code(), Code::kAborted);
  EXPECT_EQ(refused.reason(), Reason::kMemberFenced);
  EXPECT_EQ(refused.message(), "member \"a\" of group \"g\" has a newer stream, session 2");
  late.set_member_session(2);
  EXPECT_TRUE(DecideCommit(state_, {.image = image_}, late, &response).ok());
  late.set_member_session(0);
  EXPECT_TRUE(DecideCommit(state_, {.image = image_}, late, &response).ok()) << "it has no stream";
}

// Rule 35: "Without a member a commit needs an empty group; a reset needs partitions that nobody
// owns."
TEST_F(MemberRequestsTest, Rule35_NobodyElseCommits_NorMovesNorDeletesWhatAMemberHas) {
  MakeTwo();
  ASSERT_EQ(Commit("a", 1, "0"), Refused());
  v1::CommitOffsetsResponse response;
  const auto expect_not_empty = [](const Status& status, const std::string& words) {
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_EQ(status.reason(), Reason::kGroupNotEmpty);
    EXPECT_EQ(status.message(), words);
  };
  const CoordinatorCircumstances now{.image = image_};
  expect_not_empty(DecideCommit(state_, now, CommitOf("", 0, "7"), &response).status(),
                   "group \"g\" has members");
  expect_not_empty(DecideMove(state_, now, CommitOf("", 0, "7,4")).status(),
                   "partition 4 of topic \"t\": a member of group \"g\" has it");
  Apply(*DecideMove(state_, now, CommitOf("", 0, "7")));
  v1::DeleteOffsetsRequest offsets;
  offsets.set_group("g");
  offsets.add_topics()->set_topic_id(1);
  v1::DeleteOffsetsResponse deleted;
  expect_not_empty(DecideDeleteOffsets(state_, offsets, &deleted).status(),
                   "partition 0 of topic_id 1: a member of group \"g\" has it");
  offsets.mutable_topics(0)->add_partitions(7);
  Apply(*DecideDeleteOffsets(state_, offsets, &deleted));
  EXPECT_EQ(deleted.deleted_count(), 1U);
  v1::DeleteGroupRequest group;
  group.set_group("g");
  expect_not_empty(DecideDeleteGroup(state_, group).status(), "group \"g\" has members");
}

// Rule 32: "Offsets expire only where no member is subscribed and nothing is staged."
TEST_F(MemberRequestsTest, Rule32_WhatAGroupWithMembersCommitted_IsNeverOld) {
  ASSERT_TRUE(Ask(Join("a")).ok());
  SetTarget({{"a", "0-3"}});
  ASSERT_EQ(Commit("a", 1, "0"), Refused());
  const auto sweep = [this](int64_t wall_ms) {
    ShardState::Cursor cursor;
    return Sweep(state_, last_, image_, {.wall_ms = wall_ms, .retention_ms = 100}, &cursor);
  };
  EXPECT_TRUE(sweep(1'000'000).records().empty());
  time_ms_ = 1'000'000;
  ASSERT_TRUE(Ask(Ping("a", kMemberGoes)).ok());
  EXPECT_TRUE(sweep(1'000'099).records().empty()) << "its time begins when the last one goes";
  Apply(sweep(1'000'100));
  EXPECT_EQ(state_.Find("g"), nullptr);
  EXPECT_EQ(state_.bytes(), 0U);
}

// Whoever is taken out, or has another one in its place, is to be fenced; whoever goes by itself
// not.
TEST_F(MemberRequestsTest, TheProducerOfAMemberThatIsTakenOut_IsToBeFenced_UntilItIsKnownToBe) {
  RaiseToTransactions();
  ASSERT_TRUE(Ask(WithProducer(Join("silent"), 71, 1)).ok());
  ASSERT_TRUE(Ask(WithProducer(Join("leaves"), 72, 1)).ok());
  ASSERT_TRUE(Ask(WithProducer(Join("replaced", "i"), 73, 1)).ok());
  ASSERT_TRUE(Ask(Join("without")).ok());
  ASSERT_TRUE(Ask(Ping("leaves", kMemberGoes)).ok());
  EXPECT_EQ(state_.fencing().Find("g"), nullptr);
  pings_ = false;
  ASSERT_TRUE(Ask(WithProducer(Join("another", "i"), 73, 2)).ok());
  for (const char* id : {"silent", "without"}) {
    const CoordinatorDecision removal =
        DecideRemoval(state_, "g", id, v1::GROUP_EVENT_KIND_SESSION_ENDED);
    ASSERT_TRUE(removal.ok());
    Apply(*removal);
  }
  const std::set<ToBeFenced> expected = {
      {.transactional_id = "payments", .producer = ProducerId(71), .epoch = 1},
      {.transactional_id = "payments", .producer = ProducerId(73), .epoch = 1}};
  EXPECT_EQ(state_.Find("g")->to_be_fenced, expected);
  ASSERT_NE(state_.fencing().Find("g"), nullptr);
  EXPECT_EQ(*state_.fencing().Find("g"), 2U);
  internal::v1::CoordinatorState saved;
  state_.SaveTo(&saved);
  EXPECT_EQ(ShardState::LoadFrom(saved)->Find("g")->to_be_fenced, expected);
  for (const ToBeFenced& one : expected) {
    CoordinatorRecords records;
    auto& fenced = *records.add_records()->mutable_producer_fenced();
    fenced.set_group("g");
    Fill(one, fenced.mutable_producer());
    Apply(records);
  }
  EXPECT_TRUE(state_.Find("g")->to_be_fenced.empty());
  EXPECT_EQ(state_.fencing().Find("g"), nullptr);
}

TEST_F(MemberRequestsTest, AMembersProducer_IsOneThatThereCanBe_InAClusterThatHasTransactions) {
  EXPECT_EQ(Decide(WithProducer(Join("a"), 7, 1)).status().code(), Code::kFailedPrecondition);
  RaiseToTransactions();
  EXPECT_TRUE(Decide(WithProducer(Join("a"), 7, 1)).ok());
  EXPECT_EQ(CheckMember(WithProducer(Join("a"), 0, 1)).code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckMember(WithProducer(Join("a"), 7, 0)).code(), Code::kInvalidArgument);
  MemberRequest nameless = WithProducer(Join("a"), 7, 1);
  nameless.mutable_info()->mutable_producer()->clear_transactional_id();
  EXPECT_EQ(CheckMember(nameless).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::broker

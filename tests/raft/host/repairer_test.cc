// A damaged stretch of a replica's log: what is read here, what is asked of whom, and what readers
// are told meanwhile. The other members and the store answer when the test says so.
#include "raft/host/repairer.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/host/pulled_log.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup = PulledLog::kGroup;

class RepairerTest : public OneOfThreeTest {
 protected:
  void SetUp() override {
    OneOfThreeTest::SetUp();
    range_.configuration.voters = {kSelf, kSecond, kThird};
    range_.why = DataLoss("a file is rotten");
  }
  // The log's entries from `first` to `last`, counted from 0, are in a damaged segment.
  void Damage(size_t first, size_t last) {
    range_.begin = PulledLog::Before(entries_, first);
    range_.end = PulledLog::Before(entries_, last + 1);
    store_.damaged[kGroup] = range_;
    store_.damage_listener(kGroup);
    Settle();
  }
  RangeRequest Asked(const Voter& of) { return LastAsked(of.broker); }
  void Answer(const Voter& from, std::vector<core::Entry> entries, bool is_damaged = false,
              core::LogPoint begin = PulledLog::kBegin) {
    Reply(from, {.begin = begin, .entries = std::move(entries), .is_damaged = is_damaged});
  }
  void AnswerCompacted(const Voter& from, core::CompactionPoint compacted) {
    Reply(from, {.begin = PulledLog::kBegin, .entries = entries_, .compacted = compacted});
  }
  void Reply(const Voter& from, RangeReply reply) {
    reply.route = Asked(from).route;
    reply.commit = entries_.back().index;
    host_->OnPeerMessage(from.holder(), PeerKind::kRangeReply, Encode(reply));
    Settle();
  }
  // What is damaged is lost, as all say.
  void Lose() {
    Answer(kSecond, {}, /*is_damaged=*/true);
    Answer(kThird, {}, /*is_damaged=*/true);
  }
  std::vector<core::Entry> Some(size_t first, size_t last) {
    return {entries_.begin() + static_cast<ptrdiff_t>(first),
            entries_.begin() + static_cast<ptrdiff_t>(last + 1)};
  }
  // Of a reader that met the damage.
  Code Told() {
    const Status why = DataLoss("entry is rotten");
    return machine_.group->ReportUnreadable(why).code();
  }
  static constexpr RaftGroupId kOther{kGroup.value() + 1};
  static constexpr RaftGroupId kThirdGroup{kGroup.value() + 2};
  // Of another group's replica, the log's first entry is in a damaged segment.
  void DamageOther(RaftGroupId group, StateMachine& machine) {
    ReplicaRecord record{.group = group, .number = kSelf.number};
    record.configuration.voters = {kSelf, kSecond, kThird};
    host_->CreateReplica(record, /*campaign=*/false, machine);
    DamagedRange& range = store_.damaged[group] = range_;
    range.begin = PulledLog::kBegin;
    range.end = EndAfter(PulledLog::Entries(1, Term(4), group)[0].frame.header());
    store_.damage_listener(group);
    Settle();
  }
  // The topic is deleted, and a later one's partition is here under another number.
  void MakeReplicaAnew() {
    host_->RemoveReplica(kGroup, LogIndex(1), [] {});
    ReplicaRecord record{.group = kGroup, .number = ReplicaNumber(kSelf.number.value() + 9)};
    record.configuration.voters = {
        {kSelf.broker, kSelf.incarnation, record.number}, kSecond, kThird};
    range_.configuration = record.configuration;
    host_->CreateReplica(record, /*campaign=*/false, machine_);
    Settle();
  }
  bool IsRepaired() const { return !store_.damaged.contains(kGroup); }

  std::vector<core::Entry> entries_ = PulledLog::Entries(8);
  DamagedRange range_;
};

TEST_F(RepairerTest, WhatIsIntactIsReadHere_AndTheRestPulled) {
  store_.intact = Some(2, 3);
  store_.intact.push_back(entries_[6]);
  Damage(2, 6);
  EXPECT_EQ(Asked(kSecond).first, entries_[4].index) << "up to there it is here";
  EXPECT_EQ(Told(), Code::kUnavailable);
  EXPECT_EQ(host_->StateOf(kGroup)->fault.code(), Code::kDataLoss);
  // More than what is lacking: the rest is taken from there all the same, up to the end.
  Answer(kSecond, Some(4, 7));
  EXPECT_TRUE(IsRepaired());
  EXPECT_EQ(store_.restored.begin, range_.begin);
  ASSERT_EQ(store_.restored.entries.size(), 5U);
  EXPECT_EQ(store_.restored.entries.back().index, entries_[6].index);
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  EXPECT_TRUE(host_->Find(kGroup)->health().ok()) << "it took part all the while";
  EXPECT_TRUE(host_->StateOf(kGroup)->fault.ok());
}

TEST_F(RepairerTest, AMemberThatIsDamagedThere_OrHasDroppedIt_IsPassedOver) {
  Damage(0, 3);
  Answer(kSecond, Some(0, 1));
  EXPECT_EQ(Asked(kSecond).first, entries_[2].index);
  Answer(kSecond, {}, /*is_damaged=*/true);
  EXPECT_EQ(Asked(kThird).first, entries_[2].index);
  Answer(kThird, Some(2, 2));
  EXPECT_EQ(Asked(kThird).first, entries_[3].index);
  Answer(kThird, {}, false, PulledLog::Before(entries_, 5));
  EXPECT_EQ(Asked(kSecond).first, entries_[3].index);
  Answer(kSecond, Some(3, 3));
  EXPECT_TRUE(IsRepaired());
}

TEST_F(RepairerTest, WhatNoMemberHas_IsLost_UntilOneHasIt) {
  Damage(0, 3);
  Answer(kSecond, {}, /*is_damaged=*/true);
  EXPECT_EQ(Told(), Code::kUnavailable) << "one was not asked";
  Answer(kThird, {}, /*is_damaged=*/true);
  EXPECT_EQ(Told(), Code::kDataLoss);
  EXPECT_EQ(host_->StateOf(kGroup)->fault.message(),
            "no replica has what is damaged: a file is rotten");
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  const size_t asked = transport_.peers.size();
  store_.damage_listener(kGroup);
  world_.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(transport_.peers.size(), asked) << "readers do not make it ask again";
  world_.RunFor(std::chrono::seconds(26));
  ASSERT_GT(transport_.peers.size(), asked) << "now and then it looks again";
  while (!IsRepaired()) {
    const auto& [to, kind, body] = transport_.peers.back();
    Answer(to == kSecond.broker ? kSecond : kThird, Some(0, 3));
  }
  EXPECT_FALSE(store_.HasDamage(kGroup));
}

TEST_F(RepairerTest, WhereThereIsNoOtherMember_ItIsLost) {
  range_.configuration.voters = {kSelf};
  const size_t asked = transport_.peers.size();
  Damage(0, 3);
  EXPECT_EQ(host_->StateOf(kGroup)->fault.message(),
            "no replica has what is damaged: a file is rotten");
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  world_.RunFor(std::chrono::seconds(40));
  EXPECT_EQ(transport_.peers.size(), asked);
}

TEST_F(RepairerTest, WhatIsBehindALostStretch_IsRepaired_AndTheLostOneStaysLost) {
  DamagedRange behind = range_;
  behind.begin = PulledLog::Before(entries_, 5);
  behind.end = PulledLog::Before(entries_, 7);
  store_.damaged_behind[kGroup] = behind;
  Damage(0, 3);
  Answer(kSecond, {}, /*is_damaged=*/true);
  Answer(kThird, {}, /*is_damaged=*/true);
  EXPECT_EQ(Asked(kSecond).first, entries_[5].index);
  EXPECT_EQ(Told(), Code::kDataLoss);
  Answer(kSecond, Some(5, 6));
  EXPECT_FALSE(store_.damaged_behind.contains(kGroup));
  EXPECT_EQ(Told(), Code::kDataLoss) << "that one is lost all the same";
  const size_t asked = transport_.peers.size();
  world_.RunFor(std::chrono::seconds(29));
  EXPECT_EQ(transport_.peers.size(), asked);
  world_.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(Asked(kSecond).first, entries_[0].index) << "it is looked for again";
  Answer(kSecond, Some(0, 3));
  EXPECT_TRUE(IsRepaired());
}

// Each replica ends its files elsewhere, so that one that holds the log start begins before it,
// and before what the others have.
TEST_F(RepairerTest, WhatOthersDropped_IsLeftOut_AndTheRestOfItsFileRepaired) {
  Damage(0, 4);
  Answer(kSecond, Some(0, 0));
  Answer(kSecond, {}, false, PulledLog::Before(entries_, 4));
  Answer(kThird, {}, false, PulledLog::Before(entries_, 3));
  EXPECT_EQ(Asked(kThird).first, entries_[3].index) << "the lowest begin is enough";
  Answer(kThird, Some(3, 4));
  EXPECT_TRUE(IsRepaired());
  ASSERT_EQ(store_.restored.entries.size(), 4U);
  const FrameHeader gap = store_.restored.entries[1].frame.header();
  EXPECT_EQ(gap.type, FrameType::kGap);
  EXPECT_EQ(gap.index, entries_[1].index);
  EXPECT_EQ(EndAfter(gap), PulledLog::Before(entries_, 3));
  EXPECT_EQ(gap.append_time_ms, entries_[0].frame.header().append_time_ms)
      << "times do not go back";
}

// Nobody knows any more which entry was the first of the next one, nor will be asked.
TEST_F(RepairerTest, WhatOthersDroppedOfTwoTerms_IsLeftOut_AsOfTheLast) {
  Damage(0, 4);
  Answer(kSecond, Some(0, 0));
  core::LogPoint dropped = PulledLog::Before(entries_, 3);
  dropped.term = Term(5);
  Answer(kSecond, {}, false, dropped);
  Answer(kThird, {}, false, dropped);
  ASSERT_EQ(store_.restored.entries.size(), 2U);
  EXPECT_EQ(store_.restored.entries[1].term, Term(5));
}

// It waits for this one, whose log has what it lacks; the other one dropped that.
TEST_F(RepairerTest, AMemberThatIsBehind_KeepsNothingFromBeingLeftOut) {
  Damage(0, 3);
  Reply(kSecond, {.begin = PulledLog::kBegin, .entries = {}});
  world_.RunFor(std::chrono::milliseconds(60));
  Answer(kThird, {}, false, PulledLog::Before(entries_, 3));
  EXPECT_EQ(store_.restored.entries.size(), 1U);
  EXPECT_EQ(Asked(kThird).first, entries_[3].index);
}

TEST_F(RepairerTest, AFileThatOthersDroppedWhole_EndsWhereItDid) {
  Damage(1, 4);
  Answer(kSecond, {}, false, PulledLog::Before(entries_, 7));
  Answer(kThird, {}, /*is_damaged=*/true);
  EXPECT_TRUE(IsRepaired());
  ASSERT_EQ(store_.restored.entries.size(), 1U);
  EXPECT_EQ(EndAfter(store_.restored.entries[0].frame.header()), PulledLog::Before(entries_, 5));
}

// A log that waits for its repair keeps journal files.
TEST_F(RepairerTest, WhatIsLost_IsGivenUp_WhereTheJournalNeedsItsRoom) {
  for (const double pressure : {0.1, 0.9}) {
    store_.pressure = pressure;
    Damage(0, 3);
    world_.RunFor(std::chrono::seconds(31));
    while (host_->repairs_under_way() > 0) {
      const auto& [to, kind, body] = transport_.peers.back();
      Answer(to == kSecond.broker ? kSecond : kThird, {}, /*is_damaged=*/true);
    }
    EXPECT_EQ(store_.given_up.contains({kGroup, kSelf.number}), pressure > 0.5);
  }
}

TEST_F(RepairerTest, WhoDoesNotAnswer_OrHasNothingJustNow_ProvesNothing) {
  Damage(0, 3);
  Answer(kSecond, {}, /*is_damaged=*/true);
  Answer(kThird, {});
  EXPECT_EQ(Told(), Code::kUnavailable);
  world_.RunFor(std::chrono::milliseconds(60));
  EXPECT_EQ(Asked(kSecond).first, entries_[0].index);
  world_.RunFor(std::chrono::milliseconds(2100));
  EXPECT_EQ(Asked(kThird).first, entries_[0].index) << "the second one is silent";
  EXPECT_EQ(Told(), Code::kUnavailable);
  Answer(kThird, Some(0, 3));
  EXPECT_TRUE(IsRepaired());
}

TEST_F(RepairerTest, WhatDoesNotFollow_IsNotTaken) {
  Damage(1, 3);
  Answer(kSecond, Some(2, 3));
  EXPECT_TRUE(store_.restored.entries.empty());
  world_.RunFor(std::chrono::milliseconds(60));
  std::vector<core::Entry> others = PulledLog::Entries(4, Term(9));
  Answer(kThird, {others.begin() + 1, others.end()});
  EXPECT_TRUE(store_.restored.entries.empty());
  world_.RunFor(std::chrono::milliseconds(60));
  Answer(kSecond, Some(0, 0));
  EXPECT_TRUE(store_.restored.entries.empty()) << "it is before the stretch";
  world_.RunFor(std::chrono::milliseconds(60));
  Answer(kThird, Some(1, 3));
  EXPECT_TRUE(IsRepaired());
}

// A gap's chain is proven by what follows it; at the end of the stretch that is its end.
TEST_F(RepairerTest, WhatDoesNotEndAsTheStretchDid_IsNotTaken) {
  range_.begin = PulledLog::Before(entries_, 1);
  range_.end = PulledLog::Before(entries_, 4);
  range_.end.chain ^= 1;
  store_.damaged[kGroup] = range_;
  store_.damage_listener(kGroup);
  Settle();
  Answer(kSecond, Some(1, 3));
  EXPECT_TRUE(store_.restored.entries.empty());
  EXPECT_FALSE(IsRepaired());
}

TEST_F(RepairerTest, AMemberThatSaysItTwice_IsNotTwoMembers) {
  Damage(0, 3);
  Answer(kSecond, {}, /*is_damaged=*/true);
  Answer(kThird, {});
  world_.RunFor(std::chrono::milliseconds(60));
  Answer(kSecond, {}, /*is_damaged=*/true);
  EXPECT_EQ(Told(), Code::kUnavailable);
  Answer(kThird, Some(0, 3));
  EXPECT_TRUE(IsRepaired());
}

// A member that is asked again at once would be asked all the time.
TEST_F(RepairerTest, WhoHasNothingJustNow_IsNotAskedAgainAtOnce) {
  Damage(0, 3);
  const size_t asked = transport_.peers.size();
  Answer(kSecond, {});
  world_.RunFor(std::chrono::milliseconds(40));
  EXPECT_EQ(transport_.peers.size(), asked);
  world_.RunFor(std::chrono::milliseconds(20));
  EXPECT_EQ(Asked(kThird).first, entries_[0].index);
}

TEST_F(RepairerTest, WhatCannotBeReadHereJustNow_IsReadLater_AndNotAskedFor) {
  store_.intact = Some(0, 3);
  store_.read_error = Unavailable("no descriptors");
  Damage(0, 3);
  world_.RunFor(std::chrono::milliseconds(500));
  EXPECT_TRUE(transport_.peers.empty());
  store_.read_error = Status::Ok();
  world_.RunFor(std::chrono::milliseconds(60));
  EXPECT_TRUE(IsRepaired());
  EXPECT_TRUE(transport_.peers.empty());
}

TEST_F(RepairerTest, MoreDamageThatIsMetMeanwhile_DoesNotBeginARepairAnew_AndIsRepairedNext) {
  DamagedRange behind = range_;
  behind.begin = PulledLog::Before(entries_, 5);
  behind.end = PulledLog::Before(entries_, 7);
  Damage(0, 3);
  Answer(kSecond, Some(0, 1));
  store_.damaged_behind[kGroup] = behind;
  store_.damage_listener(kGroup);
  Settle();
  EXPECT_EQ(store_.restored.entries.size(), 2U);
  Answer(kSecond, Some(2, 3));
  EXPECT_TRUE(IsRepaired());
  EXPECT_EQ(Asked(kSecond).first, entries_[5].index);
}

// Each holds a part of a log in memory.
TEST_F(RepairerTest, TwoAtATime_AreRepaired_AndTheNextOnceOneIsDone) {
  std::array<PulledMachine, 2> machines;
  DamageOther(kOther, machines[0]);
  DamageOther(kThirdGroup, machines[1]);
  Damage(0, 3);
  EXPECT_EQ(host_->repairs_under_way(), 2U);
  EXPECT_EQ(store_.restores_begun, 2U);
  host_->RemoveReplica(kOther, LogIndex(1), [] {});
  Settle();
  EXPECT_EQ(store_.restores_begun, 3U);
  EXPECT_EQ(Asked(kSecond).route.group, kGroup);
}

// A broker may be away for days, and nothing that others could give may wait for it.
TEST_F(RepairerTest, WhatWaitsForAMember_LetsOthersHaveTheirTurn_AndGoesOnWithWhatItHas) {
  std::array<PulledMachine, 2> machines;
  Damage(0, 3);
  Answer(kSecond, Some(0, 1));
  DamageOther(kOther, machines[0]);
  DamageOther(kThirdGroup, machines[1]);
  ASSERT_EQ(store_.restores_begun, 2U);
  // Neither of the two is answered.
  world_.RunFor(std::chrono::milliseconds(4200));
  ASSERT_EQ(store_.restores_begun, 3U);
  const auto asked = std::ranges::find_if(transport_.peers, [](const auto& sent) {
    return DecodeRangeRequest(std::get<Bytes>(sent)).value().route.group == kThirdGroup;
  });
  ASSERT_NE(asked, transport_.peers.end());
  const RangeRequest request = DecodeRangeRequest(std::get<Bytes>(*asked)).value();
  host_->OnPeerMessage(kSecond.holder(), PeerKind::kRangeReply,
                       Encode(RangeReply{.route = request.route,
                                         .begin = PulledLog::kBegin,
                                         .entries = PulledLog::Entries(1, Term(4), kThirdGroup)}));
  Settle();
  EXPECT_FALSE(store_.damaged.contains(kThirdGroup));
  while (transport_.peers.size() < 100 &&
         DecodeRangeRequest(std::get<Bytes>(transport_.peers.back())).value().route.group !=
             kGroup) {
    world_.RunFor(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(store_.restores_begun, 3U) << "what it has is kept";
  const Voter& of =
      std::get<BrokerId>(transport_.peers.back()) == kSecond.broker ? kSecond : kThird;
  EXPECT_EQ(Asked(of).first, entries_[2].index);
}

// Its own disk cannot give what it has.
TEST_F(RepairerTest, WhatCannotBeReadJustNow_LetsOthersHaveTheirTurn) {
  std::array<PulledMachine, 2> machines;
  store_.read_error = Unavailable("no descriptors");
  Damage(0, 3);
  DamageOther(kOther, machines[0]);
  DamageOther(kThirdGroup, machines[1]);
  EXPECT_EQ(store_.restores_begun, 2U);
  world_.RunFor(std::chrono::milliseconds(40));
  EXPECT_EQ(store_.restores_begun, 2U);
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(store_.restores_begun, 3U);
}

TEST_F(RepairerTest, WhatNobodyElseCouldHave_IsNotAskedFor) {
  range_.configuration.voters = {kSelf};
  Damage(0, 3);
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  EXPECT_EQ(store_.restores_begun, 0U);
}

TEST_F(RepairerTest, WhatWasLost_AndIsRepairedOrDropped_IsLostNoMore) {
  for (const bool is_dropped : {false, true}) {
    Damage(0, 3);
    Lose();
    EXPECT_EQ(Told(), Code::kDataLoss);
    if (is_dropped) store_.damaged.erase(kGroup);
    world_.RunFor(std::chrono::seconds(31));
    if (!is_dropped) Answer(kSecond, Some(0, 3));
    store_.damaged[kGroup] = range_;
    EXPECT_EQ(Told(), Code::kUnavailable) << is_dropped << ": that is other damage";
    store_.damaged.erase(kGroup);
  }
}

TEST_F(RepairerTest, WhatWasLost_AndIsRepaired_IsLostNoMore_ThoughThereIsDamageBehindIt) {
  Damage(0, 3);
  Lose();
  world_.RunFor(std::chrono::seconds(31));
  DamagedRange behind = range_;
  behind.begin = PulledLog::Before(entries_, 5);
  behind.end = PulledLog::Before(entries_, 7);
  store_.damaged_behind[kGroup] = behind;
  Answer(kSecond, Some(0, 3));
  EXPECT_EQ(Asked(kSecond).first, entries_[5].index);
  EXPECT_EQ(Told(), Code::kUnavailable);
}

// What was built beside the log goes.
TEST_F(RepairerTest, ARepairThatEndsEarly_LeavesNothingBeside) {
  Damage(0, 3);
  const size_t ended = store_.restores_ended;
  Lose();
  EXPECT_EQ(store_.restores_ended, ended + 1);
  world_.RunFor(std::chrono::seconds(31));
  store_.restore_error = Internal("input/output error");
  Answer(kSecond, Some(0, 3));
  EXPECT_EQ(store_.restores_ended, ended + 2);
  store_.restore_error = Status::Ok();
  world_.RunFor(std::chrono::seconds(3));
  ASSERT_EQ(host_->repairs_under_way(), 1U);
  host_->RemoveReplica(kGroup, LogIndex(1), [] {});
  EXPECT_EQ(store_.restores_ended, ended + 3);
}

TEST_F(RepairerTest, AnErrorWhereItIsWritten_OrPutInItsPlace_IsTriedAgainToo) {
  Damage(0, 1);
  store_.restore_error = Internal("input/output error");
  Answer(kSecond, Some(0, 1));
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  EXPECT_FALSE(IsRepaired());
  store_.restore_error = Status::Ok();
  store_.finish_error = Internal("input/output error");
  world_.RunFor(std::chrono::milliseconds(2100));
  Answer(kSecond, Some(0, 1));
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  EXPECT_FALSE(IsRepaired());
  store_.finish_error = Status::Ok();
  world_.RunFor(std::chrono::milliseconds(2100));
  Answer(kSecond, Some(0, 1));
  EXPECT_TRUE(IsRepaired());
}

// What passes by itself is looked at soon, an error of the disk only after a while.
TEST_F(RepairerTest, HowSoonARepairBeginsAgain_DependsOnWhatEndedIt) {
  store_.restore_error = Unavailable("its segments are being written again");
  Damage(0, 1);
  ASSERT_EQ(store_.restores_begun, 1U);
  store_.restore_error = Internal("input/output error");
  world_.RunFor(std::chrono::milliseconds(60));
  EXPECT_EQ(store_.restores_begun, 2U);
  world_.RunFor(std::chrono::milliseconds(1900));
  EXPECT_EQ(store_.restores_begun, 2U);
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(store_.restores_begun, 3U);
}

TEST_F(RepairerTest, WhatDoesNotFitTheCompactionHere_IsNotTaken) {
  store_.compaction[kGroup] = {.pass = 3, .settled = 1};
  Damage(0, 3);
  AnswerCompacted(kSecond, {.pass = 2, .settled = 1});
  EXPECT_FALSE(IsRepaired()) << "it has what a pass took out here";
  world_.RunFor(std::chrono::milliseconds(60));
  AnswerCompacted(kThird, {.pass = 4, .settled = 4});
  EXPECT_FALSE(IsRepaired()) << "it lacks a tombstone that something here waits for";
  world_.RunFor(std::chrono::milliseconds(60));
  Reply(
      kSecond,
      {.begin = PulledLog::kBegin, .entries = Some(0, 1), .compacted = {.pass = 3, .settled = 2}});
  Reply(
      kSecond,
      {.begin = PulledLog::kBegin, .entries = Some(2, 3), .compacted = {.pass = 3, .settled = 1}});
  EXPECT_TRUE(IsRepaired());
  EXPECT_EQ(store_.repaired_with, (core::CompactionPoint{.pass = 3, .settled = 2}))
      << "of all that was";
}

// Members that have damage of their own, or are away, do not do the pass for as long.
TEST_F(RepairerTest, WhereNobodyHasDoneThePassThatWasDoneHere_ALowerOneIsTaken_AndTold) {
  store_.compaction[kGroup] = {.pass = 5, .settled = 2};
  Damage(0, 3);
  AnswerCompacted(kSecond, {.pass = 3, .settled = 2});
  world_.RunFor(std::chrono::milliseconds(60));
  AnswerCompacted(kThird, {.pass = 3, .settled = 2});
  EXPECT_FALSE(IsRepaired()) << "each was asked for what needs no pass";
  world_.RunFor(std::chrono::milliseconds(60));
  Reply(
      kSecond,
      {.begin = PulledLog::kBegin, .entries = Some(0, 1), .compacted = {.pass = 1, .settled = 1}});
  EXPECT_TRUE(store_.restored.entries.empty()) << "it lacks one whose tombstones went here";
  world_.RunFor(std::chrono::milliseconds(60));
  Reply(
      kThird,
      {.begin = PulledLog::kBegin, .entries = Some(0, 1), .compacted = {.pass = 3, .settled = 2}});
  ASSERT_EQ(store_.restored.entries.size(), 2U);
  Reply(
      kThird,
      {.begin = PulledLog::kBegin, .entries = Some(2, 3), .compacted = {.pass = 5, .settled = 4}});
  EXPECT_EQ(store_.restored.entries.size(), 2U) << "tombstones went there that the first wait for";
  world_.RunFor(std::chrono::milliseconds(60));
  Reply(
      kSecond,
      {.begin = PulledLog::kBegin, .entries = Some(2, 3), .compacted = {.pass = 5, .settled = 3}});
  EXPECT_TRUE(IsRepaired());
  EXPECT_EQ(store_.repaired_with, (core::CompactionPoint{.pass = 3, .settled = 3}));
}

TEST_F(RepairerTest, AHostThatIsStopped_RepairsNoMore) {
  Damage(0, 1);
  const size_t asked = transport_.peers.size();
  host_->Stop();
  world_.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(transport_.peers.size(), asked);
  EXPECT_EQ(host_->repairs_under_way(), 0U);
}

TEST_F(RepairerTest, AnErrorOfTheDisk_IsTriedAgain_FromTheBeginning) {
  store_.restore_error = Internal("input/output error");
  Damage(0, 1);
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  store_.restore_error = Status::Ok();
  world_.RunFor(std::chrono::milliseconds(2100));
  Answer(kSecond, Some(0, 1));
  EXPECT_TRUE(IsRepaired());
}

TEST_F(RepairerTest, AReplicaThatIsRemoved_IsNotRepairedAnyMore) {
  Damage(0, 1);
  const PullRoute route = Asked(kSecond).route;
  host_->RemoveReplica(kGroup, LogIndex(1), [] {});
  Settle();
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  host_->OnPeerMessage(
      kSecond.holder(), PeerKind::kRangeReply,
      Encode(RangeReply{.route = route, .begin = PulledLog::kBegin, .entries = Some(0, 1)}));
  Settle();
  EXPECT_TRUE(store_.restored.entries.empty());
}

// What its former life lost says nothing of the log of this one.
TEST_F(RepairerTest, WhatAFormerLifeLost_IsNotLostToTheNext) {
  Damage(0, 3);
  Lose();
  ASSERT_EQ(Told(), Code::kDataLoss);
  MakeReplicaAnew();
  EXPECT_EQ(Told(), Code::kUnavailable);
}

TEST_F(RepairerTest, WhatAFormerLifeWasToLookForLater_IsLookedForAtOnce) {
  Damage(0, 3);
  Lose();
  const size_t asked = transport_.peers.size();
  MakeReplicaAnew();
  Damage(0, 3);
  ASSERT_EQ(transport_.peers.size(), asked + 1);
  EXPECT_EQ(Asked(kSecond).first, entries_[0].index);
}

TEST_F(RepairerTest, WhatAFormerLifePassedOver_IsNotPassedOver) {
  DamagedRange behind = range_;
  behind.begin = PulledLog::Before(entries_, 5);
  behind.end = PulledLog::Before(entries_, 7);
  store_.damaged_behind[kGroup] = behind;
  Damage(0, 3);
  Lose();
  ASSERT_EQ(Asked(kSecond).first, entries_[5].index);
  MakeReplicaAnew();
  Damage(0, 3);
  EXPECT_EQ(Asked(kSecond).first, entries_[0].index);
}

// A read that a former repair began would put its entries where the next one writes.
TEST_F(RepairerTest, WhatAnEarlierRepairAskedFor_IsNothingToTheNext) {
  store_.holds_reads = true;
  Damage(0, 3);
  MakeReplicaAnew();
  Damage(0, 3);
  ASSERT_EQ(store_.held_reads.size(), 2U);
  store_.held_reads[0](Some(0, 3));
  EXPECT_TRUE(store_.restored.entries.empty());
  store_.held_reads[1](Some(0, 1));
  EXPECT_EQ(store_.restored.entries.size(), 2U);
}

// The log that is damaged will be another's anyway.
TEST_F(RepairerTest, WhereTheLogIsRestored_ItIsNotRepaired) {
  Damage(0, 1);
  EXPECT_EQ(host_->repairs_under_way(), 1U);
  host_->OnRaftMessage(kSecond, kGroup, kSelf.number,
                       core::Behind{.term = Term(9), .begin = PulledLog::kBegin.index});
  Settle();
  EXPECT_EQ(host_->restores_under_way(), 1U);
  EXPECT_EQ(host_->repairs_under_way(), 0U);
  store_.damage_listener(kGroup);
  Settle();
  EXPECT_EQ(host_->repairs_under_way(), 0U);
}

}  // namespace
}  // namespace millrace::raft

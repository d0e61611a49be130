// A replica that its leader's log does not reach any more: what is asked of whom, in which order,
// and when its core is made anew. The other side and the store answer when the test says so.
#include "raft/host/restorer.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/raft/host/pulled_log.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup = PulledLog::kGroup;
constexpr core::LogPoint kBegin = PulledLog::kBegin;

std::vector<core::Entry> Entries(size_t count) { return PulledLog::Entries(count); }

class RestorerTest : public OneOfThreeTest {
 protected:
  static constexpr Voter kLeader = kSecond;
  static constexpr Voter kNext = kThird;

  void SayBehind(const Voter& leader, uint64_t term) {
    host_->OnRaftMessage(leader, kGroup, kSelf.number,
                         core::Behind{.term = Term(term), .begin = kBegin.index});
    Settle();
  }
  static constexpr core::CompactionPoint kBeforePass{.pass = 2, .settled = 1};
  static constexpr core::CompactionPoint kAfterPass{.pass = 4, .settled = 3};
  // Half of a log of four entries from each, of which the second has let tombstones go.
  void PullFromTwo() {
    const std::vector<core::Entry> entries = Entries(4);
    SayBehind(kLeader, 9);
    AnswerRange(kLeader, {}, 44, kBegin, kBeforePass);
    AnswerRange(kLeader, {entries.begin(), entries.begin() + 2}, 46, kBegin, kBeforePass);
    SayBehind(kNext, 10);
    world_.RunFor(std::chrono::seconds(3));
    AnswerRange(kNext, {entries.begin() + 2, entries.end()}, 44, kBegin, kAfterPass);
    AnswerState(kNext, entries[3]);
  }
  PullRoute LastRoute() {
    const auto& [to, kind, body] = transport_.peers.back();
    return kind == PeerKind::kRangeRequest ? DecodeRangeRequest(body)->route
                                           : DecodeStateRequest(body)->route;
  }
  void AnswerRange(const Voter& from, std::vector<core::Entry> entries, uint64_t commit,
                   core::LogPoint begin = kBegin, core::CompactionPoint compacted = {}) {
    host_->OnPeerMessage(from.holder(), PeerKind::kRangeReply,
                         Encode(RangeReply{.route = LastRoute(),
                                           .begin = begin,
                                           .commit = LogIndex(commit),
                                           .entries = std::move(entries),
                                           .compacted = compacted}));
    Settle();
  }
  void AnswerState(const Voter& from, const core::Entry& at) {
    StatePiece piece{.route = LastRoute(),
                     .at = {.index = at.index,
                            .term = at.term,
                            .chain = at.chain,
                            .next_offset = at.frame.header().base_offset + 1},
                     .size = 10};
    piece.configuration.voters = {kSelf, kLeader, kNext};
    for (const char* half : {"state", "after"}) {
      piece.piece = Bytes::CopyOf(half);
      host_->OnPeerMessage(from.holder(), PeerKind::kStatePiece, Encode(piece));
      piece.position += 5;
    }
    Settle();
  }
  // In place of the replica, as if a start had found it so: its log begins at kBegin and has these
  // entries, the first `in_segments` of them in segments.
  void Recover(std::vector<core::Entry> entries, size_t in_segments,
               std::optional<Snapshot> snapshot = std::nullopt) {
    host_->RemoveReplica(kGroup, LogIndex(), [] {});
    RecoveredReplica found;
    found.record = {.group = kGroup, .number = kSelf.number};
    found.record.configuration.voters = {kSelf, kLeader, kNext};
    MemoryLogStore::Group& group = store_.groups[kGroup];
    group.record = found.record;
    group.entries.resize(kBegin.index.value());
    group.entries.insert(group.entries.end(), entries.begin(), entries.end());
    const core::LogPoint end = PulledLog::Before(entries, in_segments);
    std::vector<core::TermStart> terms;
    if (in_segments > 0) terms = {{.term = end.term, .first_index = kBegin.index + 1}};
    entries.erase(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(in_segments));
    found.initial.hard_state = {.term = entries.empty() ? end.term : entries.back().term,
                                .vote = kNext};
    found.initial.log =
        core::Log(kBegin, {.index = end.index, .term = end.term, .chain = end.chain},
                  std::move(terms), std::move(entries));
    found.initial.commit_index = end.index;
    found.initial.configuration = found.record.configuration;
    found.snapshot = std::move(snapshot);
    host_->AddReplica(std::move(found), machine_);
    Settle();
  }
  bool HasAskedForState(const Voter& of) const {
    const auto& [to, kind, body] = transport_.peers.back();
    return kind == PeerKind::kStateRequest && to == of.broker;
  }
  const core::Raft& core() const { return host_->Find(kGroup)->core(); }
  size_t Asked() const { return transport_.peers.size(); }
  const Status& health() const { return host_->Find(kGroup)->health(); }
};

TEST_F(RestorerTest, ItPullsTheLogAndTheState_AndACoreBeginsOnThem) {
  const std::vector<core::Entry> entries = Entries(6);
  SayBehind(kLeader, 9);
  EXPECT_EQ(LastAsked(kLeader.broker).first, LogIndex(0)) << "where does it begin?";
  AnswerRange(kLeader, {}, 44);
  EXPECT_EQ(store_.restored.begin, kBegin);
  EXPECT_EQ(LastAsked(kLeader.broker).first, kBegin.index + 1);
  AnswerRange(kLeader, {entries.begin(), entries.begin() + 4}, 44);
  ASSERT_EQ(std::get<1>(transport_.peers.back()), PeerKind::kStateRequest);
  AnswerState(kLeader, entries[4]);
  world_.RunFor(std::chrono::milliseconds(60));
  EXPECT_EQ(LastAsked(kLeader.broker).first, LogIndex(45)) << "the state is beyond what it has";
  AnswerRange(kLeader, {entries.begin() + 4, entries.end()}, 46);
  EXPECT_EQ(store_.restored.entries.size(), 5u) << "no more than up to the state";
  EXPECT_EQ(store_.restored.state, "stateafter");
  EXPECT_EQ(machine_.state, "stateafter");
  ASSERT_TRUE(health().ok()) << health();
  const core::Raft& core = host_->Find(kGroup)->core();
  EXPECT_EQ(core.log().begin(), kBegin);
  EXPECT_EQ(core.log().last_index(), LogIndex(45));
  EXPECT_EQ(core.commit_index(), LogIndex(45));
  EXPECT_EQ(core.term(), Term(9)) << "its promises go along";
  EXPECT_EQ(host_->restores_under_way(), 0u);
}

TEST_F(RestorerTest, WhereTheSourcesBeginHasPassedIt_ItBeginsAgainFromThere) {
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  const std::vector<core::Entry> entries = Entries(6);
  core::LogPoint later{.index = entries[3].index,
                       .term = entries[3].term,
                       .chain = entries[3].chain,
                       .next_offset = Offset(104)};
  AnswerRange(kLeader, {}, 46, later);
  EXPECT_EQ(store_.restored.begin, later);
  EXPECT_EQ(LastAsked(kLeader.broker).first, later.index + 1);
}

TEST_F(RestorerTest, ItTellsHowFarItIs) {
  EXPECT_EQ(host_->StateOf(kGroup)->role, ReplicaRole::kFollower);
  const std::vector<core::Entry> entries = Entries(6);
  SayBehind(kLeader, 9);
  EXPECT_EQ(host_->StateOf(kGroup)->restore->entries_total, 0u) << "the source has not answered";
  AnswerRange(kLeader, {}, 46);
  AnswerRange(kLeader, {entries.begin(), entries.begin() + 2}, 46);
  world_.RunFor(std::chrono::seconds(1));
  const ReplicaState state = *host_->StateOf(kGroup);
  EXPECT_EQ(state.role, ReplicaRole::kRestoring);
  EXPECT_TRUE(state.fault.ok()) << "it votes, with the log that it has";
  ASSERT_TRUE(state.restore.has_value());
  EXPECT_EQ(state.restore->source, kLeader.broker);
  EXPECT_EQ(state.restore->begin_offset, kBegin.next_offset);
  EXPECT_EQ(state.restore->entries, 2u);
  EXPECT_EQ(state.restore->entries_total, 6u);
  EXPECT_EQ(state.restore->bytes, entries[0].size_bytes() + entries[1].size_bytes());
  EXPECT_GE(state.restore->elapsed, std::chrono::seconds(1));
  SayBehind(kNext, 10);
  EXPECT_EQ(host_->StateOf(kGroup)->restore->source, kNext.broker);
}

TEST_F(RestorerTest, WhereItBeginsAgain_ItCountsFromThere_AndWhatWasPulledIsNotForgotten) {
  const std::vector<core::Entry> entries = Entries(6);
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 46);
  AnswerRange(kLeader, {entries.begin(), entries.begin() + 2}, 46);
  world_.RunFor(std::chrono::milliseconds(60));
  AnswerRange(kLeader, {}, 46,
              {.index = entries[3].index,
               .term = entries[3].term,
               .chain = entries[3].chain,
               .next_offset = Offset(104)});
  const RestoreProgress progress = *host_->StateOf(kGroup)->restore;
  EXPECT_EQ(progress.begin_offset, Offset(104));
  EXPECT_EQ(progress.entries, 0u);
  EXPECT_EQ(progress.entries_total, 2u);
  EXPECT_EQ(progress.bytes, entries[0].size_bytes() + entries[1].size_bytes());
}

TEST_F(RestorerTest, WhoeverLeadsIsAskedNext_AndAnAnswerOfAnother_OrALateOne_IsNone) {
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  SayBehind(kNext, 10);
  const size_t asked = Asked();
  AnswerRange(kNext, Entries(2), 44);
  EXPECT_TRUE(store_.restored.entries.empty()) << "another one was asked";
  const PullRoute late = LastRoute();
  world_.RunFor(std::chrono::seconds(3));
  EXPECT_EQ(Asked(), asked + 1);
  EXPECT_EQ(LastAsked(kNext.broker).route.source, kNext.number);
  host_->OnPeerMessage(kNext.holder(), PeerKind::kRangeReply,
                       Encode(RangeReply{.route = late, .begin = kBegin, .entries = Entries(2)}));
  Settle();
  EXPECT_TRUE(store_.restored.entries.empty());
  AnswerRange(kNext, Entries(2), 44);
  EXPECT_EQ(store_.restored.entries.size(), 2u);
}

// A new leader may know less committed, and need this replica to commit the rest.
TEST_F(RestorerTest, WhereTheNextSourceHasApplied_LessThanWasPulled_ItBeginsAgain) {
  const std::vector<core::Entry> entries = Entries(4);
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  AnswerRange(kLeader, entries, 44);
  AnswerState(kLeader, entries[2]);
  world_.RunFor(std::chrono::milliseconds(60));
  ASSERT_EQ(std::get<1>(transport_.peers.back()), PeerKind::kStateRequest)
      << "who had it committed will apply it";
  SayBehind(kNext, 10);
  world_.RunFor(std::chrono::seconds(3));
  ASSERT_EQ(std::get<1>(transport_.peers.back()), PeerKind::kStateRequest);
  AnswerState(kNext, entries[2]);
  EXPECT_EQ(LastAsked(kNext.broker).first, LogIndex(0));
  AnswerRange(kNext, {}, 43);
  AnswerRange(kNext, {entries.begin(), entries.begin() + 3}, 43);
  AnswerState(kNext, entries[2]);
  EXPECT_EQ(machine_.state, "stateafter");
}

// pulled_as_its_source: what the one had not compacted may be what a tombstone covered that is gone
// at the other.
TEST_F(RestorerTest, PartsOfDifferentPasses_AreNotPutTogether) {
  PullFromTwo();
  EXPECT_EQ(machine_.state, "");
  world_.RunFor(std::chrono::seconds(3));
  EXPECT_EQ(LastAsked(kNext.broker).first, LogIndex(0)) << "from the beginning";
  const std::vector<core::Entry> entries = Entries(4);
  AnswerRange(kNext, {}, 44, kBegin, kAfterPass);
  AnswerRange(kNext, entries, 44, kBegin, kAfterPass);
  AnswerState(kNext, entries[3]);
  EXPECT_EQ(machine_.state, "stateafter");
}

TEST_F(RestorerTest, TheBrokenVariant_TombstoneBeforeAll_PutsThemTogether) {
  active_mutant = Mutant::kTombstoneBeforeAll;
  PullFromTwo();
  active_mutant = Mutant::kNone;
  EXPECT_EQ(machine_.state, "stateafter");
}

TEST_F(RestorerTest, WhatDoesNotFollow_IsNotTaken_AndAskedForAgain) {
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  const std::vector<core::Entry> entries = Entries(4);
  AnswerRange(kLeader, {entries.begin() + 1, entries.end()}, 44);
  EXPECT_TRUE(store_.restored.entries.empty());
  world_.RunFor(std::chrono::milliseconds(60));
  EXPECT_EQ(LastAsked(kLeader.broker).first, kBegin.index + 1);
}

// The log would end in a term that the replica does not know of.
TEST_F(RestorerTest, ItWaits_UntilItKnowsOfTheTermThatTheLogEndsIn) {
  const std::vector<core::Entry> entries = Entries(2);
  SayBehind(kLeader, 3);  // entries are of term 4
  AnswerRange(kLeader, {}, 42);
  AnswerRange(kLeader, entries, 42);
  AnswerState(kLeader, entries.back());
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(host_->restores_under_way(), 1u);
  EXPECT_TRUE(health().ok()) << "it takes part still";
  host_->OnRaftMessage(kNext, kGroup, kSelf.number, core::Heartbeat{.term = Term(4)});
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(host_->restores_under_way(), 0u);
  EXPECT_EQ(host_->Find(kGroup)->core().log().last_index(), LogIndex(42));
}

// A new leader that has all may bring it up to date, and count what it acknowledged, before it says
// what is committed.
TEST_F(RestorerTest, WhereTheLogHasTheEntryThatTheRestoredOneEndsWith_ItIsKept) {
  const std::vector<core::Entry> entries = Entries(6);
  Recover({}, 0, Snapshot{.index = kBegin.index, .state = Bytes::CopyOf("at begin")});
  ASSERT_TRUE(health().ok()) << health();
  host_->OnRaftMessage(kLeader, kGroup, kSelf.number,
                       core::Behind{.term = Term(3), .begin = entries[2].index});
  Settle();
  AnswerRange(kLeader, {}, 45, PulledLog::Before(entries, 3));
  AnswerRange(kLeader, {entries[3], entries[4]}, 45);
  AnswerState(kLeader, entries[4]);
  EXPECT_EQ(host_->restores_under_way(), 1u) << "it does not know of term 4";
  host_->OnRaftMessage(kNext, kGroup, kSelf.number,
                       core::AppendRequest{.term = Term(4),
                                           .prev_index = kBegin.index,
                                           .prev_term = kBegin.term,
                                           .commit_index = kBegin.index,
                                           .entries = entries});
  world_.RunFor(std::chrono::milliseconds(200));
  EXPECT_EQ(host_->restores_under_way(), 0u);
  EXPECT_EQ(core().log().last_index(), entries[5].index) << "it was acknowledged";
  EXPECT_EQ(machine_.state, "at begin");
}

// A start that found no state: where another replica's is of an entry that is here, nothing else is
// needed, and nothing is let go of that was acknowledged above it.
TEST_F(RestorerTest, AStateThatIsLost_IsAnotherReplicas_WhereItsEntryIsHere) {
  for (const size_t at : {1, 2, 4}) {
    const std::vector<core::Entry> entries = Entries(5);
    Recover(entries, 2);
    EXPECT_EQ(health().code(), Code::kDataLoss);
    ASSERT_TRUE(HasAskedForState(kLeader));
    AnswerState(kLeader, entries[at]);
    EXPECT_EQ(machine_.state, "stateafter");
    ASSERT_TRUE(health().ok()) << health();
    EXPECT_EQ(core().log().begin(), kBegin);
    EXPECT_EQ(core().log().last_index(), entries[4].index);
    EXPECT_EQ(core().commit_index(), entries[at].index);
    EXPECT_EQ(host_->Find(kGroup)->applied(), entries[at].index);
    EXPECT_EQ(core().hard_state(), (core::HardState{.term = Term(4), .vote = kNext}));
    EXPECT_EQ(host_->restores_under_way(), 0u);
  }
  EXPECT_EQ(store_.restored.begin, core::LogPoint()) << "no log was pulled";
}

TEST_F(RestorerTest, AStateBeyondTheLog_IsPulledWithTheLog) {
  const std::vector<core::Entry> entries = Entries(6);
  Recover({entries.begin(), entries.begin() + 4}, 2);
  AnswerState(kLeader, entries[4]);
  EXPECT_EQ(LastAsked(kLeader.broker).first, LogIndex(0));
  EXPECT_EQ(host_->StateOf(kGroup)->role, ReplicaRole::kRestoring);
  AnswerRange(kLeader, {}, 46);
  AnswerRange(kLeader, entries, 46);
  EXPECT_EQ(store_.restored.entries.size(), 6u);
  AnswerState(kLeader, entries[5]);
  ASSERT_TRUE(health().ok()) << health();
  EXPECT_EQ(machine_.state, "stateafter");
  EXPECT_EQ(core().log().last_index(), entries[5].index);
  EXPECT_EQ(core().hard_state(), (core::HardState{.term = Term(4), .vote = kNext}));
}

// What lies above an entry that is not the log's will never count.
TEST_F(RestorerTest, WithoutAState_ALogThatLeftTheOthersIsLetGoOf_AndTheirTermIsDurableFirst) {
  const std::vector<core::Entry> theirs = PulledLog::Entries(3, Term(9));
  Recover(Entries(5), 0);
  AnswerState(kLeader, theirs[2]);
  AnswerRange(kLeader, {}, 43);
  AnswerRange(kLeader, theirs, 43);
  AnswerState(kLeader, theirs[2]);
  ASSERT_TRUE(health().ok()) << health();
  EXPECT_EQ(core().log().last_index(), theirs[2].index);
  const core::HardState expected{.term = Term(9), .vote = {}};
  EXPECT_EQ(core().hard_state(), expected) << "it voted in term 4";
  EXPECT_EQ(store_.groups[kGroup].hard_state, expected);
}

TEST_F(RestorerTest, WithoutAState_WhoDoesNotAnswerOrLagsBehind_IsPassedOver) {
  const std::vector<core::Entry> entries = Entries(2);
  Recover(entries, 2);
  ASSERT_TRUE(HasAskedForState(kLeader));
  world_.RunFor(std::chrono::milliseconds(2100));
  ASSERT_TRUE(HasAskedForState(kNext));
  core::Entry before = entries[0];
  before.index = LogIndex(39);
  AnswerState(kNext, before);
  world_.RunFor(std::chrono::milliseconds(60));
  ASSERT_TRUE(HasAskedForState(kLeader));
  AnswerState(kLeader, entries[1]);
  EXPECT_TRUE(health().ok()) << health();
}

TEST_F(RestorerTest, AnErrorOfTheDisk_EndsIt_AndItIsNotTriedAgainAtOnce) {
  store_.restore_error = Internal("input/output error");
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  const size_t asked = Asked();
  for (int i = 0; i < 10; ++i) SayBehind(kLeader, 9);
  EXPECT_EQ(Asked(), asked);
  store_.restore_error = Status::Ok();
  world_.RunFor(std::chrono::seconds(3));
  SayBehind(kLeader, 9);
  EXPECT_EQ(LastAsked(kLeader.broker).first, LogIndex(0));
}

TEST_F(RestorerTest, WhereTheReplicaIsRemovedMeanwhile_NothingIsLeft) {
  SayBehind(kLeader, 9);
  AnswerRange(kLeader, {}, 44);
  host_->RemoveReplica(kGroup, LogIndex(), [] {});
  EXPECT_EQ(host_->restores_under_way(), 0u);
  const size_t asked = Asked();
  world_.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(Asked(), asked);
}

}  // namespace
}  // namespace millrace::raft

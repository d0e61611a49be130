// What a host makes of what storage recovered, and of a state machine that cannot go on.
#include "raft/host/host.h"

#include <memory>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/frame/frame.h"
#include "raft/codec/pull_messages.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/raft/host/state_machine_property.h"
#include "tests/raft/net/entries.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup{7};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};
// A group of three.
constexpr RaftGroupId kThree{8};
constexpr ReplicaNumber kNumberInThree{3};  // of the replica here
constexpr Voter kSecond{BrokerId(2), Incarnation(12), ReplicaNumber(2)};
constexpr Voter kThird{BrokerId(3), Incarnation(13), ReplicaNumber(4)};

// Its state is how many entries it applied, in words.
class Counter final : public StateMachine {
 public:
  void Attach(Group& to) override { group = &to; }
  Status Restore(Bytes state) override {
    if (state.view() == "unreadable") return DataLoss("the state is unreadable");
    restored = std::string(state.view());
    applied = std::stoull(restored);
    return {};
  }
  Status Apply(const core::Entry& entry) override {
    if (entry.index == refused) return Unimplemented("an entry of a later version");
    ++applied;
    return {};
  }
  StateEncoder TakeSnapshot() const override {
    return [state = std::to_string(applied)] { return Bytes::CopyOf(state); };
  }
  Offset next_offset() const override { return end; }
  Offset log_start() const override { return start; }
  int64_t last_append_time_ms() const override { return 0; }
  void OnLeadership(const Leadership& now) override {
    leadership = now;
    ++times_told;
    why_not = group->NotLeader();
  }

  Group* group = nullptr;
  std::string restored;
  uint64_t applied = 0;
  LogIndex refused;
  Offset start;
  Offset end;
  Leadership leadership;
  int times_told = 0;
  Status why_not;  // why the group does not lead, when it was told last
};

class HostTest : public testing::Test {
 protected:
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Start();
    ReplicaRecord record{.group = kGroup, .number = kSelf.number};
    record.configuration.voters = {kSelf};
    host_->CreateReplica(record, /*campaign=*/true, *machine_);
    Settle();
  }
  void Start() {
    host_.reset();
    machine_ = std::make_unique<Counter>();
    host_ = std::make_unique<Host>(
        HostOptions{.self = kSelf.holder()},
        HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    host_->Start();
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(100)); }
  void Propose(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
      const FrameHeader draft{.type = FrameType::kRecordBatch};
      ASSERT_TRUE(machine_->group->Propose(ProposalClass::kBulk, draft, AllocateFrame(0)).ok());
      Settle();
    }
  }
  void Restart() {
    Start();
    host_->AddReplica(store_.Recovered(kGroup), *machine_);
    Settle();
  }
  void CreateOneOfThree(StateMachine& machine) {
    ReplicaRecord record{.group = kThree, .number = kNumberInThree};
    record.configuration.voters = {
        {kSelf.broker, kSelf.incarnation, kNumberInThree}, kSecond, kThird};
    host_->CreateReplica(record, /*campaign=*/false, machine);
    Settle();
  }
  // Entries for the replica of three.
  void Append(const Voter& from, uint64_t term, LogIndex after, uint64_t count) {
    const core::Log& log = host_->Find(kThree)->core().log();
    core::AppendRequest request{.term = Term(term),
                                .prev_index = after,
                                .prev_term = log.TermAt(after).value_or(Term()),
                                .commit_index = LogIndex(),
                                .entries = {}};
    const uint32_t chain = after == LogIndex() ? 0 : log.At(after).chain;
    request.entries = net::MakeEntries(kThree, Term(term), after, count, chain);
    host_->OnRaftMessage(from, kThree, kNumberInThree, std::move(request));
    Settle();
  }
  // The replica of three asks for votes, gets them, and its no-op is stored elsewhere, too.
  void LeadThree() {
    core_term_ = Term(core_term_.value() + 1);
    transport_.sent.clear();
    world_.RunFor(std::chrono::seconds(2));
    for (const bool is_pre_vote : {true, false}) {
      host_->OnRaftMessage(
          kSecond, kThree, kNumberInThree,
          core::VoteReply{.term = core_term_, .is_pre_vote = is_pre_vote, .granted = true});
      Settle();
    }
    ASSERT_TRUE(host_->Find(kThree)->core().is_leader());
    StoreElsewhere();
    ASSERT_TRUE(host_->Find(kThree)->leadership().is_ready);
  }
  void AnswerHeartbeats() {
    for (const core::Message& sent : std::exchange(transport_.sent, {})) {
      const auto* heartbeat = std::get_if<core::Heartbeat>(&sent);
      if (heartbeat == nullptr) continue;
      host_->OnRaftMessage(
          kSecond, kThree, kNumberInThree,
          core::HeartbeatReply{.term = heartbeat->term, .round = heartbeat->round});
    }
  }
  void StoreElsewhere() {
    const core::Raft& core = host_->Find(kThree)->core();
    host_->OnRaftMessage(kSecond, kThree, kNumberInThree,
                         core::AppendReply{.term = core.term(),
                                           .success = true,
                                           .index = core.log().last_index(),
                                           .hint_index = LogIndex(),
                                           .hint_term = Term()});
    Settle();
  }
  const Status& health() const { return host_->Find(kGroup)->health(); }
  const Status& apply_fault() const { return host_->Find(kGroup)->apply_fault(); }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  Term core_term_;
  MemoryTransport transport_;
  MemoryLogStore store_{process_.executor()};
  std::unique_ptr<Counter> machine_;
  std::unique_ptr<Host> host_;
};

// Where others hold the log too it is repaired from them; and what is damaged takes no replica's
// voice.
TEST_F(HostTest, ALogThatIsDamaged_IsToBeRepaired_WhereAReplicaIsNotAlone) {
  constexpr RaftGroupId kShared{9};
  Counter machine;
  ReplicaRecord record{.group = kShared, .number = kSelf.number};
  record.configuration.voters = {
      kSelf, {BrokerId(2), Incarnation(2)}, {BrokerId(3), Incarnation(3)}};
  host_->CreateReplica(record, /*campaign=*/false, machine);
  Settle();
  const Status unreadable = Unavailable("no descriptors just now");
  EXPECT_EQ(machine.group->ReportUnreadable(unreadable), unreadable);
  const Status rotten = DataLoss("entry 4 is rotten");
  EXPECT_EQ(machine.group->ReportUnreadable(rotten), rotten) << "nothing that could be repaired";
  store_.damaged[kShared] = {};
  EXPECT_EQ(machine.group->ReportUnreadable(rotten).code(), Code::kUnavailable);
  store_.damaged[kGroup] = {};
  EXPECT_EQ(machine_->group->ReportUnreadable(rotten), rotten) << "it is alone";
  EXPECT_TRUE(host_->Find(kShared)->health().ok());
  EXPECT_TRUE(health().ok()) << health();
}

// Whoever keeps a broker from leading until a replica is healthy hears that it is, although nobody
// can lead before that.
TEST_F(HostTest, AReplicaThatCanBeReadLater_TellsItsMachine_WhereNothingMayLead) {
  Propose(3);
  Start();
  RecoveredReplica silent = store_.Recovered(kGroup);
  silent.health = Unavailable("no descriptors just now");
  host_->AddReplica(std::move(silent), *machine_);
  host_->SetMayLead(false);
  Settle();
  ASSERT_EQ(machine_->times_told, 0);
  store_.Recover(kGroup);
  Settle();
  EXPECT_TRUE(health().ok()) << health();
  EXPECT_EQ(machine_->times_told, 1);
  EXPECT_FALSE(machine_->leadership.is_leader);
  host_->SetMayLead(true);
  world_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(machine_->leadership.is_ready);
}

TEST_F(HostTest, AWriteUnderWay_HasAnAge_UntilItIsDurable) {
  EXPECT_EQ(host_->oldest_write_age(), Duration(0));
  store_.write_time = std::chrono::milliseconds(250);
  Propose(2);  // a tenth of a second each
  EXPECT_GT(host_->oldest_write_age(), std::chrono::milliseconds(190));
  EXPECT_LE(host_->oldest_write_age(), std::chrono::milliseconds(200));
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_LE(host_->oldest_write_age(), std::chrono::milliseconds(200)) << "of the second one";
  EXPECT_GT(host_->oldest_write_age(), Duration(0));
  world_.RunFor(std::chrono::milliseconds(200));
  EXPECT_EQ(host_->oldest_write_age(), Duration(0));
}

// Who waits for the leader here must not be sent to another broker.
TEST_F(HostTest, ALeaderThatIsRemoved_SaysThatThePartitionIsDeleted) {
  host_->RemoveReplica(kGroup, LogIndex(), [] {});
  EXPECT_FALSE(machine_->leadership.is_leader);
  EXPECT_EQ(machine_->why_not.code(), Code::kNotFound) << machine_->why_not;
  EXPECT_EQ(machine_->why_not.reason(), Reason::kTopicDeleted);
}

// Its vote for itself is not durable because what a replica before it wrote is.
TEST_F(HostTest, AWriteOfAFormerLife_SaysNothingToTheNext) {
  store_.write_time = std::chrono::milliseconds(250);
  Propose(2);  // a tenth of a second each
  host_->RemoveReplica(kGroup, LogIndex(), [] {});
  ReplicaRecord record{.group = kGroup, .number = ReplicaNumber(2)};
  record.configuration.voters = {{kSelf.broker, kSelf.incarnation, record.number}};
  Counter machine;
  host_->CreateReplica(record, /*campaign=*/true, machine);
  world_.RunFor(std::chrono::milliseconds(200));
  EXPECT_FALSE(machine.leadership.is_leader) << "its own first write takes 250 ms";
  world_.RunFor(std::chrono::milliseconds(100));
  EXPECT_TRUE(machine.leadership.is_leader);
}

TEST_F(HostTest, ARestart_TakesTheSnapshot_AndAppliesWhatFollows) {
  store_.roll_every = 4;
  Propose(9);  // and the no-op
  ASSERT_TRUE(store_.groups[kGroup].snapshot.has_value());
  EXPECT_EQ(store_.groups[kGroup].snapshot->index, LogIndex(8));
  Restart();
  EXPECT_EQ(machine_->restored, "8");
  EXPECT_EQ(machine_->applied, 11U);  // the new term's no-op is one more
  EXPECT_TRUE(machine_->leadership.is_ready);
}

TEST_F(HostTest, ARestart_TakesTheCheckpoint_AndAppliesWhatFollows) {
  store_.checkpoint_every = 4;
  Propose(9);  // and the no-op
  EXPECT_EQ(store_.groups[kGroup].rolls, 0U);
  ASSERT_TRUE(store_.groups[kGroup].snapshot.has_value());
  EXPECT_EQ(store_.groups[kGroup].snapshot->index, LogIndex(8));
  Restart();
  EXPECT_EQ(machine_->restored, "8");
  EXPECT_EQ(machine_->applied, 11U);
}

TEST_F(HostTest, AStop_SavesTheState_IfTheStoreWantsTo) {
  Propose(9);  // and the no-op
  store_.wants_last_checkpoints = true;
  ASSERT_FALSE(store_.groups[kGroup].snapshot.has_value());
  host_->Stop();
  ASSERT_TRUE(store_.groups[kGroup].snapshot.has_value());
  EXPECT_EQ(store_.groups[kGroup].snapshot->index, LogIndex(10));
}

TEST_F(HostTest, TheStoreIsTold_WhatIsNotAskedForAnyMore_AlsoAfterARestart) {
  Propose(3);
  EXPECT_EQ(store_.groups[kGroup].log_start, Offset());
  machine_->start = Offset(2);
  Propose(1);
  EXPECT_EQ(store_.groups[kGroup].log_start, Offset(2));
  store_.groups[kGroup].log_start = Offset();
  Start();
  machine_->start = Offset(2);  // as one that is restored has it
  host_->AddReplica(store_.Recovered(kGroup), *machine_);
  Settle();
  EXPECT_EQ(store_.groups[kGroup].log_start, Offset(2));
}

TEST_F(HostTest, WhereTheLogBeginsLater_ItsTailDoesToo) {
  Propose(9);
  const core::Log& log = host_->Find(kGroup)->core().log();
  ASSERT_EQ(log.begin().index, LogIndex(0));
  const core::Entry& entry = store_.groups[kGroup].entries[3];
  const core::LogPoint begin{.index = entry.index, .term = entry.term, .chain = entry.chain};
  store_.MoveBegin(kGroup, begin);
  EXPECT_EQ(log.begin(), begin);
  EXPECT_EQ(log.prefix().index, LogIndex(4));
  Propose(1);
  EXPECT_EQ(machine_->applied, 11U);
  host_->CheckInvariants();
}

TEST_F(HostTest, ASegmentIsEnded_ThoughNothingIsWritten_OnceTheStoreWantsTo) {
  Propose(9);
  EXPECT_FALSE(store_.groups[kGroup].snapshot.has_value());
  store_.roll_every = 10;
  world_.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(store_.groups[kGroup].snapshot.has_value());
  EXPECT_EQ(store_.groups[kGroup].snapshot->index, LogIndex(10));
  EXPECT_EQ(store_.groups[kGroup].rolls, 1U);
}

TEST_F(HostTest, ARestart_WithoutASnapshot_AppliesTheWholeLog) {
  Propose(9);
  Restart();
  EXPECT_EQ(machine_->restored, "");
  EXPECT_EQ(machine_->applied, 11U);
}

TEST_F(HostTest, ALogThatBeginsPastWhatItsStateCovers_IsDamaged_NeverEmpty) {
  Propose(5);
  for (const bool has_snapshot : {false, true}) {
    Start();
    RecoveredReplica recovered = store_.Recovered(kGroup);
    recovered.initial.log =
        core::Log({.index = LogIndex(3), .term = Term(1)}, {.index = LogIndex(6), .term = Term(1)},
                  {{.term = Term(1), .first_index = LogIndex(4)}}, {});
    if (has_snapshot) recovered.snapshot = Snapshot{.index = LogIndex(2), .state = Bytes::Own("2")};
    host_->AddReplica(std::move(recovered), *machine_);
    EXPECT_EQ(health().code(), Code::kDataLoss);
    EXPECT_NE(health().message().find("begins at entry 4"), std::string::npos) << health();
    EXPECT_EQ(machine_->restored, "");
  }
}

// What was compacted cannot be applied: sequences of producers went with the batches.
TEST_F(HostTest, ALogThatWasRewrittenPastWhatItsStateCovers_IsDamaged_NeverApplied) {
  Propose(5);
  for (const uint64_t covered : {0, 2, 3}) {
    Start();
    RecoveredReplica recovered = store_.Recovered(kGroup);
    recovered.rewritten_end = LogIndex(3);
    if (covered > 0) {
      recovered.snapshot =
          Snapshot{.index = LogIndex(covered), .state = Bytes::Own(std::to_string(covered))};
    }
    host_->AddReplica(std::move(recovered), *machine_);
    if (covered == 3) continue;
    EXPECT_EQ(health().code(), Code::kDataLoss) << covered;
    EXPECT_NE(health().message().find("rewrote entries up to 3"), std::string::npos) << health();
    EXPECT_EQ(machine_->applied, 0U);
  }
  Settle();
  EXPECT_TRUE(health().ok()) << health();
  EXPECT_EQ(machine_->applied, 7U);
}

TEST_F(HostTest, ALogThatBeginsWhereItsStateEnds_IsWhole) {
  Propose(5);
  Start();
  RecoveredReplica recovered = store_.Recovered(kGroup);
  recovered.initial.log =
      core::Log({.index = LogIndex(3), .term = Term(1)}, {.index = LogIndex(6), .term = Term(1)},
                {{.term = Term(1), .first_index = LogIndex(4)}}, {});
  recovered.snapshot = Snapshot{.index = LogIndex(3), .state = Bytes::Own("3")};
  host_->AddReplica(std::move(recovered), *machine_);
  Settle();
  EXPECT_TRUE(health().ok()) << health();
  EXPECT_EQ(machine_->applied, 7U);
}

TEST_F(HostTest, AStateThatCannotBeRead_SilencesTheReplica) {
  Propose(2);
  store_.groups[kGroup].snapshot =
      Snapshot{.index = LogIndex(3), .state = Bytes::Own("unreadable")};
  Restart();
  EXPECT_EQ(health().code(), Code::kDataLoss);
  EXPECT_EQ(machine_->applied, 0U);
}

TEST_F(HostTest, AnEntryThatCannotBeApplied_StopsTheReplicaThere_NamingIt_AlsoAfterARestart) {
  machine_->refused = LogIndex(4);
  Propose(3);  // the no-op is entry 1
  EXPECT_EQ(apply_fault().code(), Code::kUnimplemented);
  EXPECT_NE(apply_fault().message().find("entry 4 cannot be applied"), std::string::npos)
      << apply_fault();
  EXPECT_EQ(host_->Find(kGroup)->applied(), LogIndex(3));
  EXPECT_FALSE(machine_->leadership.is_leader);
  EXPECT_EQ(machine_->group->NotLeader().reason(), Reason::kReplicaSilent);
  Start();
  machine_->refused = LogIndex(4);
  host_->AddReplica(store_.Recovered(kGroup), *machine_);
  Settle();
  EXPECT_TRUE(health().ok()) << health();
  EXPECT_EQ(apply_fault().code(), Code::kUnimplemented);
  EXPECT_EQ(machine_->applied, 3U);
  EXPECT_FALSE(machine_->leadership.is_leader);
}

// The entries that a replica cannot apply count for those who can: it must store, vote and hand
// over as before.
TEST_F(HostTest, AReplicaThatStoppedApplying_StoresAndVotesOn_AndNeverCampaigns) {
  Counter machine;
  machine.refused = LogIndex(2);
  store_.roll_every = 1;
  CreateOneOfThree(machine);
  EntrySequence log(kThree);
  for (int i = 0; i < 4; ++i) log.Add({.type = FrameType::kRecordBatch}, "x");
  host_->OnRaftMessage(kSecond, kThree, kNumberInThree,
                       core::AppendRequest{.term = Term(1),
                                           .prev_index = LogIndex(),
                                           .prev_term = Term(),
                                           .commit_index = LogIndex(4),
                                           .entries = log.entries()});
  Settle();
  EXPECT_EQ(host_->Find(kThree)->apply_fault().code(), Code::kUnimplemented);
  EXPECT_EQ(machine.applied, 1U);
  EXPECT_EQ(store_.groups[kThree].committed, LogIndex(4));
  // Its segments are sealed all the same, without the state that it does not have.
  EXPECT_EQ(store_.groups[kThree].rolls, 1U);
  EXPECT_FALSE(store_.groups[kThree].snapshot.has_value());
  ASSERT_FALSE(transport_.sent.empty());
  const auto* stored = std::get_if<core::AppendReply>(&transport_.sent.back());
  ASSERT_NE(stored, nullptr);
  EXPECT_TRUE(stored->success);
  EXPECT_EQ(stored->index, LogIndex(4));
  transport_.sent.clear();
  world_.RunFor(std::chrono::seconds(3));
  EXPECT_TRUE(transport_.sent.empty());  // no votes are asked for
  host_->OnRaftMessage(kThird, kThree, kNumberInThree,
                       core::VoteRequest{.term = Term(2),
                                         .is_pre_vote = false,
                                         .last_log_term = Term(1),
                                         .last_log_index = LogIndex(4)});
  Settle();
  ASSERT_FALSE(transport_.sent.empty());
  const auto* vote = std::get_if<core::VoteReply>(&transport_.sent.back());
  ASSERT_NE(vote, nullptr);
  EXPECT_TRUE(vote->granted);
}

// What a deposed leader left uncommitted would keep the journal full, and only an append takes it
// away.
TEST_F(HostTest, AFullJournal_TakesWhatReplacesItsEntries_AndNothingNew) {
  Counter machine;
  CreateOneOfThree(machine);
  Append(kSecond, 1, LogIndex(), 4);
  ASSERT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(4));
  store_.pressure = 2;
  Append(kSecond, 1, LogIndex(4), 1);
  EXPECT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(4)) << "a new one";
  Append(kThird, 2, LogIndex(1), 2);
  EXPECT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(3));
  EXPECT_EQ(host_->Find(kThree)->core().log().last_term(), Term(2));
}

// What was sent before somebody noticed stands before the command that makes room.
TEST_F(HostTest, AReplicaThatCannotWriteItsSegments_TakesEntries_WhileTheJournalHasRoom) {
  Counter machine;
  CreateOneOfThree(machine);
  store_.TellSegmentsState(kThree, ResourceExhausted("no space left", Reason::kDiskFull));
  store_.pressure = 0.5;
  Append(kSecond, 1, LogIndex(), 4);
  EXPECT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(4));
  store_.pressure = 0.6;
  Append(kSecond, 1, LogIndex(4), 1);
  EXPECT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(4)) << "that is the others'";
  store_.TellSegmentsState(kThree, Status::Ok());
  Append(kSecond, 1, LogIndex(4), 1);
  EXPECT_EQ(host_->Find(kThree)->core().log().last_index(), LogIndex(5));
}

// A leader begins no more then. What it took before stands before the command that makes room, and
// the journal may have been half full already, of what came before a former shortage.
TEST_F(HostTest, AReplicaWithoutRoom_TakesWhatItsLeaderTookLast_WhereAMajorityHasNoRoom) {
  Counter machine;
  CreateOneOfThree(machine);
  const auto last_index = [&] { return host_->Find(kThree)->core().log().last_index(); };
  store_.TellSegmentsState(kThree, ResourceExhausted("no space left", Reason::kDiskFull));
  store_.pressure = 1.4;
  store_.admits = ResourceExhausted("the disk is full", Reason::kDiskFull);
  Append(kSecond, 1, LogIndex(), 1);
  EXPECT_EQ(last_index(), LogIndex()) << "the others have room, and their leader takes on";
  transport_.full = {kThird.broker};
  Append(kSecond, 1, LogIndex(), 1);
  EXPECT_EQ(last_index(), LogIndex(1));
  store_.pressure = 1.6;
  Append(kSecond, 1, LogIndex(1), 1);
  EXPECT_EQ(last_index(), LogIndex(1)) << "that is the commands'";
  store_.pressure = 1.4;
  store_.admits = Status::Ok();
  Append(kSecond, 1, LogIndex(1), 1);
  EXPECT_EQ(last_index(), LogIndex(1)) << "its leader takes on, as this disk has room";
}

// It may never have room for the entries before the command that moved it.
TEST_F(HostTest, AReplicaThatCannotWriteItsSegments_LetsGoOfWhatItsLeaderDoesNotKeep) {
  Counter machine;
  CreateOneOfThree(machine);
  machine.end = Offset(40);
  const auto told = [&](Offset start) {
    host_->OnRaftMessage(kSecond, kThree, kNumberInThree,
                         core::AppendRequest{.term = Term(1), .log_start = start});
    return store_.groups[kThree].log_start;
  };
  EXPECT_EQ(told(Offset(10)), Offset()) << "it will come by itself";
  store_.TellSegmentsState(kThree, ResourceExhausted("no space left", Reason::kDiskFull));
  EXPECT_EQ(told(Offset(10)), Offset(10));
  EXPECT_EQ(told(Offset(70)), Offset(40)) << "all that it has";
}

TEST_F(HostTest, AReplicaThatCannotWriteItsSegments_Campaigns_WhereNobodyElseDoesForLong) {
  Counter machine;
  CreateOneOfThree(machine);
  transport_.connected = {kSecond.broker};
  store_.TellSegmentsState(kThree, ResourceExhausted("no space left", Reason::kDiskFull));
  const auto follow = [&](int rounds) {
    for (int i = 0; i < rounds; ++i) {
      host_->OnRaftMessage(kSecond, kThree, kNumberInThree, core::Heartbeat{.term = Term(1)});
      Settle();
    }
    transport_.sent.clear();
  };
  follow(30);
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(transport_.sent.empty()) << "others have their time";
  follow(1);
  world_.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(transport_.sent.empty()) << "a leader was there meanwhile";
  world_.RunFor(std::chrono::seconds(3));
  ASSERT_FALSE(transport_.sent.empty());
  EXPECT_TRUE(std::holds_alternative<core::VoteRequest>(transport_.sent.back()));
}

// What a majority has no room for is not begun; what makes room is.
TEST_F(HostTest, ALeader_RefusesRecords_WhereAMajorityHasNoRoom) {
  Counter machine;
  CreateOneOfThree(machine);
  LeadThree();
  const auto propose = [&](ProposalClass proposal_class) {
    const FrameHeader draft{.type = FrameType::kRecordBatch};
    return machine.group->Propose(proposal_class, draft, AllocateFrame(0)).status();
  };
  transport_.full = {kSecond.broker};
  EXPECT_TRUE(propose(ProposalClass::kBulk).ok()) << "two can store it";
  transport_.full = {kSecond.broker, kThird.broker};
  EXPECT_EQ(propose(ProposalClass::kBulk).reason(), Reason::kDiskFull);
  EXPECT_TRUE(propose(ProposalClass::kControl).ok());
  transport_.full = {};
  EXPECT_TRUE(propose(ProposalClass::kBulk).ok());
}

TEST_F(HostTest, ALeaderWhoseDiskIsFull_LetsOneLeadThatHasRoom) {
  Counter machine;
  CreateOneOfThree(machine);
  LeadThree();
  const auto leads = [&] {
    for (int i = 0; i < 12; ++i) {
      Settle();
      AnswerHeartbeats();
    }
    return machine.leadership.is_leader;
  };
  store_.admits = ResourceExhausted("the disk is full", Reason::kDiskFull);
  transport_.full = {kThird.broker};
  transport_.connected = {kThird.broker};
  EXPECT_TRUE(leads()) << "nobody is known to have room";
  transport_.connected = {kSecond.broker, kThird.broker};
  EXPECT_FALSE(leads());
  // The other one may lack what only this one has.
  LeadThree();
}

// A change of leaders would help nobody, and reads would wait for it.
TEST_F(HostTest, ALeaderThatFindsNoRoom_LeadsOn_WhereTheOthersHaveNoneEither) {
  Counter machine;
  CreateOneOfThree(machine);
  LeadThree();
  transport_.connected = {kSecond.broker, kThird.broker};
  transport_.full = {kSecond.broker, kThird.broker};
  store_.TellSegmentsState(kThree, ResourceExhausted("no space left", Reason::kDiskFull));
  EXPECT_TRUE(machine.leadership.is_leader);
  store_.TellSegmentsState(kThree, Unavailable("input/output error"));
  EXPECT_FALSE(host_->Find(kThree)->core().is_leader()) << "that is this broker's trouble alone";
}

// Disks fill up one after the other: each broker lets those lead that have room as yet, and in the
// end nobody has.
TEST_F(HostTest, AReplicaThatLetOthersLead_LeadsAgain_OnceTheyHaveNoRoomEither) {
  Counter machine;
  CreateOneOfThree(machine);
  LeadThree();
  transport_.connected = {kSecond.broker, kThird.broker};
  transport_.full = {kSecond.broker};
  store_.admits = ResourceExhausted("the disk is full", Reason::kDiskFull);
  store_.TellSegmentsState(kThree, store_.admits);
  ASSERT_FALSE(host_->Find(kThree)->core().is_leader()) << "the third one has room";
  transport_.full = {kSecond.broker, kThird.broker};
  LeadThree();
  EXPECT_TRUE(machine.leadership.is_leader);
}

TEST_F(HostTest, MessageToAFormerLife_OrFromOne_IsDropped) {
  Counter machine;
  CreateOneOfThree(machine);
  transport_.sent.clear();
  const core::VoteRequest request{
      .term = Term(1), .is_pre_vote = true, .last_log_term = Term(), .last_log_index = LogIndex()};
  constexpr Voter kThirdBefore{BrokerId(3), Incarnation(13), ReplicaNumber(1)};
  host_->OnRaftMessage(kSecond, kThree, ReplicaNumber(1), request);
  host_->OnRaftMessage(kThirdBefore, kThree, kNumberInThree, request);
  Settle();
  EXPECT_TRUE(transport_.sent.empty());
  host_->OnRaftMessage(kSecond, kThree, kNumberInThree, request);
  Settle();
  EXPECT_EQ(transport_.sent.size(), 1U);
}

// pulled_as_its_source: memory has what was appended, and the pass that the answer tells of was
// done on the files.
TEST_F(HostTest, WhoPulls_IsGivenWhatFilesHave_OnceALogIsCompacted) {
  Propose(3);
  const auto is_compacted = [this] {
    transport_.peers.clear();
    host_->OnPeerMessage(kSecond.holder(), PeerKind::kRangeRequest,
                         Encode(RangeRequest{.route = {.group = kGroup, .source = kSelf.number},
                                             .first = LogIndex(2),
                                             .bytes_max = 1 << 20}));
    Settle();
    CHECK_EQ(transport_.peers.size(), 1u);
    Result<RangeReply> reply = DecodeRangeReply(std::get<Bytes>(transport_.peers.front()));
    CHECK(reply.ok()) << reply.status();
    CHECK_EQ(reply->entries.front().index, LogIndex(2));
    return IsRewritten(reply->entries.front().frame.header());
  };
  core::Entry& in_file = store_.groups.at(kGroup).entries[1];
  FrameHeader header = in_file.frame.header();
  header.flags |= kFrameCompacted;
  in_file.frame = SealFrame(header, AllocateFrame(header.payload_size));
  EXPECT_FALSE(is_compacted()) << "from memory, as there was no pass";
  store_.compaction[kGroup].pass = 1;
  EXPECT_TRUE(is_compacted());
}

}  // namespace
}  // namespace millrace::raft

// One replica of one group as its host keeps it: the core, the state machine and how far each stage
// of an entry's way has come: appended -> durable (core) -> committed (core) -> applied -> told to
// the store. It gives the core its inputs and carries out what that has ready.
//
// Owned by Host, on the shard's thread. Its state machine knows it as a Group; others read it
// through Host::Find.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/raft.h"
#include "raft/host/environment.h"
#include "raft/host/read_barriers.h"
#include "raft/host/turn.h"
#include "raft/ports/group.h"
#include "raft/ports/log_store.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/lifetime.h"

namespace millrace::raft {

// What log lines say of a replica beside its group's number, e.g. "topic=flights partition=3".
using ReplicaNamer = std::function<std::string(const ReplicaRecord&)>;

class Replica;

// What the replicas of one host share; outlives them.
struct ReplicaShared {
  const HostEnvironment environment;
  Turn& turn;
  ReplicaNamer namer;  // none: log lines have the group's number alone
  // Whether any of them may lead (Host::SetMayLead).
  bool may_lead = true;
  uint64_t followers_left_behind = 0;
  // The leader, `source`, does not have any more what the replica needs next.
  std::function<void(const Replica& replica, const Voter& source)> on_behind;
  // Whether what is damaged of the group's log here is so everywhere.
  std::function<bool(RaftGroupId group)> is_lost;
};

class Replica final : public Group {
 public:
  // Attaches itself to `machine`, which outlives it. Neither recovered nor created yet.
  Replica(ReplicaRecord record, const core::Options& options, ReplicaShared& shared,
          StateMachine& machine);

  RaftGroupId group() const { return record_.group; }
  ReplicaId id() const { return {record_.group, record_.number}; }
  const Voter& self() const { return options_.self; }
  const ReplicaRecord& record() const { return record_; }
  std::string Name() const override;

  // Not ok: silent for good, and why.
  const Status& health() const override { return health_; }
  // Not ok: the entry after applied() cannot be applied, and why. The replica goes on to vote, to
  // store and to hand over to segments, for those who can; it does not lead.
  const Status& apply_fault() const { return apply_fault_; }
  // Not ok: its segments cannot be written just now, and why.
  const Status& stall() const { return stall_; }
  // Not null: all is here but the machine's state, which the log begins behind. What a core would
  // begin with; the replica is silent until it is recovered with a state of another one.
  const core::InitialState* without_state() const {
    return without_state_.has_value() ? &*without_state_ : nullptr;
  }
  // A state after an entry below is no use to it: what follows is not here, or not whole any more.
  LogIndex state_floor() const { return state_floor_; }
  // Whether the core runs.
  bool has_joined() const { return core_.has_value(); }
  // Pre: has_joined().
  const core::Raft& core() const { return *core_; }
  StateMachine& machine() { return *machine_; }
  const StateMachine& machine() const { return *machine_; }
  LogIndex applied() const { return applied_; }
  // After the last entry that is applied. Pre: has_joined(); apply_fault() is ok.
  core::LogPoint applied_point() const;
  const Leadership& leadership() const { return leadership_; }
  // Whether the group has no other member. Pre: has_joined().
  bool is_alone() const { return core_->configuration().Members().size() == 1; }

  // Its beginning (joining.cc) ------------------------------------------------------------------

  // Takes what storage found, and restores the machine. Pre: nothing of its state is there.
  void Recover(RecoveredReplica recovered);
  // Applies from segments what the snapshot lacks of the part below the tail, then joins.
  void Replay();
  // Journals that it exists, then joins, and campaigns at once if `campaign`.
  void Create(bool campaign);

  // For its state machine -----------------------------------------------------------------------

  Result<LogIndex> Propose(ProposalClass proposal_class, FrameHeader draft, Buffer frame) override;
  void ReadBarrier(MoveFunction<void(Status)> done) override;
  Status ReportUnreadable(const Status& why) override;
  Status NotLeader() const override;
  uint32_t settled_pass() const override;
  void TellPass() override;
  Offset next_offset() const override;
  int64_t last_append_time_ms() const override;
  std::optional<TailView> tail() const override;

  // For its host: inputs. Each is ignored before it joined and after it stopped ------------------

  void OnMessage(const Voter& from, core::Message message);
  void OnTick();
  // Ticks until it asks for votes, if it is to: see Host.
  void OnPeerConnected(const BrokerIncarnation& peer, uint32_t delay_ticks);
  void OnPeerDisconnected(BrokerId peer, uint32_t delay_ticks);
  void OnDurable(const core::DurablePoint& point);
  void StepDown();
  // Segments hold the entries up to `readable_end`: of those the tail keeps the newest, and no more
  // bytes than that.
  void OnSegmentsGrew(LogIndex readable_end, uint64_t keep_bytes);
  // The log's entries before `begin` are not kept any more.
  void OnBegin(const core::LogPoint& begin);
  // LogStore::SetSegmentsStateListener.
  void OnSegmentsState(Status state);
  // Leads or does not, as things are now: its host's word, its segments, what it can apply.
  void UpdateMayLead();

  // Hands on everything that the core has ready; its write, if any, goes to `writes`.
  void Drain(std::vector<ReplicaWrite>* writes);
  // Tells the store what is committed and what is not asked for any more, and rolls where that
  // wants to. Pre: what Drain gave was given to the store.
  void TellCommitted();
  // Now and then: whether others should lead, as this broker's disk is full and theirs are not; the
  // others' may become so unnoticed.
  void LookForRoom();
  // Gives the store the state where that wants to end the segment, or a checkpoint; now and then,
  // and when more is committed.
  void SaveStateIfDue();
  // Likewise, where nothing is to follow.
  void SaveLastState();
  bool is_in_turn = false;  // Turn's

  // Stops the core by an error; the replica stays silent from now on.
  void Fail(Status why);
  // Stops the core as is meant to be: what waits is told `why`.
  void Stop(Status why);
  // Stops the core, and nobody is told.
  void Halt();

  // CHECKs the core's invariants and its own. Pre: has_joined().
  void CheckInvariants() const;

 private:
  // Not ok: the state covers less than what the log begins behind.
  static Status CheckCovered(const RecoveredReplica& recovered);
  void OnReplayRead(Result<std::vector<core::Entry>> entries);
  void Join();

  // Whether, as the voters' brokers say, too many of their disks are full for records to be stored.
  bool LacksMajorityWithRoom() const;
  // The journal's pressure past which records that a leader sends are not taken.
  double EntriesPressureMax() const;
  // Whether a voter elsewhere is connected and has not said that its disk is full.
  bool HasRoomElsewhere() const;
  // Whether somebody else should lead, if anybody can: what is written here is not taken on.
  bool ShouldOthersLead() const;
  // Each tick while others should lead.
  void LeadIfNobodyElseDoes();
  Status CheckMayPropose(ProposalClass proposal_class) const;
  void ProposeNoOp();
  void SendMessages(std::vector<core::OutgoingMessage> messages);
  void ReadForPeer(const core::EntriesWanted& wanted);
  void OnReadForPeer(const core::EntriesWanted& wanted, Result<std::vector<core::Entry>> entries);
  // Applies the next entry, or stops applying there. Pre: entry.index == applied() + 1;
  // apply_fault() is ok.
  void Apply(const core::Entry& entry);
  void StopApplying(Status why);
  void TellLogStart();
  void TakeLeadersLogStart(Offset start);
  // Applies what the core knows committed.
  void ApplyCommitted();
  // Tells the state machine if role, term, leader or readiness changed.
  void UpdateLeadership();

  const ReplicaRecord record_;
  const core::Options options_;
  ReplicaShared* shared_;
  StateMachine* machine_;
  // Between Recover or Create and Join.
  std::optional<core::InitialState> joining_;
  std::optional<core::InitialState> without_state_;
  LogIndex state_floor_;
  std::optional<core::Raft> core_;
  LogIndex applied_;
  Term applied_term_;
  LogIndex told_committed_;
  Offset told_log_start_;
  std::map<Voter, uint32_t> passes_;  // of compaction, that the others have done, as they told
  Leadership leadership_;
  Status health_;
  Status apply_fault_;
  // It votes, but takes few new entries, which the journal alone would hold, and leads only where
  // nobody else could.
  Status stall_;
  // This broker's disk is full, another one's is not: produce is refused here, but not there.
  bool lacks_room_ = false;
  bool lets_others_lead_ = false;  // what ShouldOthersLead said as the core was told
  uint32_t stalled_ticks_ = 0;     // without a leader, or as leader, while either is so
  bool led_while_stalled_ = false;
  ReadBarriers barriers_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft

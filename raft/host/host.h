// Runs the Raft replicas of one shard: feeds each core its inputs, and carries out what the cores
// ask for, many groups at a time. One turn of the shard's loop gives one write to the journal for
// all groups, and one merged control frame per peer.
//
//   inputs (messages, ticks, completions, proposals)  ->  core  ->  Ready
//   Ready: messages -> Transport;  write -> LogStore;  committed entries -> StateMachine, then
//   segments
//
// Owned by the broker; everything on the shard's thread. Never reads a clock but for the disk's
// watchdog, and decides nothing of the protocol.
//
//   Host host(options, {executor, clock, transport, log_store});
//   host.AddReplica(std::move(recovered), partition);
//   host.Propose(group, {.type = FrameType::kRecordBatch, ...}, std::move(payload_buffer));
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/host/replica.h"
#include "raft/ports/log_store.h"
#include "raft/ports/state_machine.h"
#include "raft/ports/transport.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/random.h"

namespace millrace::raft {

struct HostOptions {
  BrokerIncarnation self;
  Duration tick = std::chrono::milliseconds(25);
  // Elections are drawn from [1, 2) times this many ticks: 300 to 600 ms by default.
  uint32_t election_timeout_ticks = 12;
  uint32_t heartbeat_ticks = 2;
  // In-memory tails of all groups together; entries that segments do not have yet stay regardless.
  uint64_t tail_bytes_max = 64 << 20;
  // Uncommitted bytes of one group, past which proposals are refused.
  uint64_t uncommitted_bytes_max = 32 << 20;
};

class Host {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    Transport& transport;
    LogStore& log_store;
  };

  Host(const HostOptions& options, const Environment& environment, Random random);
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Before the first replica: what log lines call them.
  void SetReplicaNamer(ReplicaNamer namer) { namer_ = std::move(namer); }

  // Begins to tick.
  void Start();
  // Stops ticking and forgets all replicas; their state machines hear no more.
  void Stop();

  // Takes on a replica that storage recovered. Applies what its snapshot lacks, then joins the
  // group. A replica whose health is not ok stays silent. `machine` outlives the replica.
  void AddReplica(RecoveredReplica recovered, StateMachine& machine);
  // Journals a new replica, then joins its group, and campaigns at once if `campaign` (one replica
  // of a new group should).
  void CreateReplica(const ReplicaRecord& record, bool campaign, StateMachine& machine);
  // Leaves the group for good and removes its data, as an image says that has applied the
  // controller's log up to `controller_index`; `done` once the tombstone is durable.
  void RemoveReplica(RaftGroupId group, LogIndex controller_index, Task done);

  // Seals `draft` (term, index, chain, lengths are filled in here; base_offset, offset_span,
  // checksums and producer fields are the caller's) with `frame`, made by AllocateFrame, and
  // appends it. The index on success. UNAVAILABLE (NOT_LEADER) with the leader, or
  // RESOURCE_EXHAUSTED.
  Result<LogIndex> Propose(RaftGroupId group, FrameHeader draft, Buffer frame);
  // Calls `done` with ok once a majority confirmed that this broker leads the group and everything
  // committed before the call is applied; UNAVAILABLE if that can't be had.
  void ReadBarrier(RaftGroupId group, MoveFunction<void(Status)> done);

  // The group's replica here; null if there is none.
  const Replica* Find(RaftGroupId group) const;
  // The error to give to whoever needs the leader of `group`.
  Status NotLeader(RaftGroupId group) const;
  uint64_t tail_bytes() const;
  size_t replica_count() const { return replicas_.size(); }
  // How often a follower was found to need entries that its leader's log no longer holds.
  uint64_t followers_left_behind() const { return followers_left_behind_; }
  // For how long the oldest write that is not durable has been under way; 0 if there is none.
  Duration oldest_write_age() const;

  // What the group's log holds here cannot be read back. Where others hold it too, one of them is
  // to lead; and this replica falls silent if that is for good (DATA_LOSS).
  void ReportUnreadable(RaftGroupId group, const Status& why);

  // Whether the replicas here may lead. If not, they vote and store: this broker lacks what serving
  // clients takes.
  void SetMayLead(bool may_lead);

  // From the Transport.
  void OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to, core::Message message);
  void OnPeerConnected(const BrokerIncarnation& peer);
  void OnPeerDisconnected(BrokerId peer);

  // CHECKs the invariants of every core; for simulation.
  void CheckInvariants() const;

 private:
  struct OutstandingWrite {
    MonotonicTime submitted;
  };

  void OnTick();
  void MarkDirty(Replica& replica);
  void Flush();
  // Hands on everything that `replica`'s core has ready; its write, if any, goes to `writes`.
  void Drain(Replica& replica, std::vector<ReplicaWrite>* writes);
  void SendMessages(Replica& replica, std::vector<core::OutgoingMessage> messages);
  void ReadForPeer(Replica& replica, const core::EntriesWanted& wanted);
  void ProposeNoOp(Replica& replica);
  void SubmitWrites(std::vector<ReplicaWrite> writes);
  void OnWritten(const std::vector<std::pair<ReplicaId, core::DurablePoint>>& points);
  // Applies, from segments, what the snapshot lacks of the part below the tail; then joins.
  void Replay(const ReplicaId& id);
  void OnReplayRead(const ReplicaId& id, Result<std::vector<core::Entry>> entries);
  void OnSegmentsGrew(RaftGroupId group, LogIndex readable_end);
  void OnSegmentsState(RaftGroupId group, Status state);
  void OnRecovered(RecoveredReplica recovered);
  // Whether the replica campaigns, as things are.
  void UpdateMayLead(Replica& replica);
  void WatchDisk();
  // Ticks until this broker asks for votes when the leader is gone, or when somebody came whose
  // vote was lacking. The voters that are left notice together, and would split their votes if they
  // asked together: each has its turn, in an order that differs from group to group, so that
  // leaderships spread.
  uint32_t ElectionTurn(const Replica& replica) const;
  Replica* FindMutable(RaftGroupId group);
  // Who asked for something that is done now; null if that replica is gone, though another life of
  // its group may be here.
  Replica* FindLife(const ReplicaId& id);
  core::Options CoreOptions(const Replica& replica);
  Voter SelfOf(const Replica& replica) const;

  const HostOptions options_;
  Environment environment_;
  Random random_;
  ReplicaNamer namer_;
  std::map<RaftGroupId, std::unique_ptr<Replica>> replicas_;
  std::vector<RaftGroupId> dirty_;
  bool is_flush_posted_ = false;
  std::deque<OutstandingWrite> outstanding_writes_;
  bool may_lead_ = true;
  uint64_t followers_left_behind_ = 0;
  TimerId tick_timer_;
  // Guards callbacks that outlive the host; shared with those callbacks alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::raft

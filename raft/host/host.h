// Runs the Raft replicas of one shard: routes what comes from the network, the timer and storage to
// them, and gives their cores turns, many groups at a time. One turn of the shard's loop gives one
// write to the journal for all groups, and one merged control frame per peer.
//
//   inputs (messages, ticks, completions, proposals)  ->  core  ->  Ready
//   Ready: messages -> Transport;  write -> LogStore;
//          committed entries -> StateMachine, then segments
//
// Owned by the broker; everything on the shard's thread. Never reads a clock but for the disk's
// watchdog, and decides nothing of the protocol.
//
//   Host host(options, {executor, clock, transport, log_store}, random);
//   host.AddReplica(std::move(recovered), partition);  // partition.Attach(group) comes first
#pragma once

#include <memory>
#include <optional>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/host/environment.h"
#include "raft/host/pull_source.h"
#include "raft/host/puller.h"
#include "raft/host/repairer.h"
#include "raft/host/replica.h"
#include "raft/host/replicas.h"
#include "raft/host/restorer.h"
#include "raft/host/turn.h"
#include "raft/ports/log_store.h"
#include "raft/ports/replica_state.h"
#include "raft/ports/state_machine.h"
#include "raft/ports/transport.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/random.h"

namespace millrace::raft {

struct HostOptions {
  BrokerIncarnation self;
  BootEpoch boot_epoch;
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
  Host(const HostOptions& options, const HostEnvironment& environment, Random random);
  ~Host();
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Before the first replica: what log lines call them.
  void SetReplicaNamer(ReplicaNamer namer) { shared_.namer = std::move(namer); }

  // Begins to tick.
  void Start();
  // Stops ticking and halts all replicas: their state machines hear no more, and what they hold of
  // their groups says that nobody leads here.
  void Stop();

  // Takes on a replica that storage recovered. Applies what its snapshot lacks, then joins the
  // group. A replica whose health is not ok stays silent. `machine` outlives the replica.
  void AddReplica(RecoveredReplica recovered, StateMachine& machine);
  // Journals a new replica, then joins its group, and campaigns at once if `campaign` (one replica
  // of a new group should).
  void CreateReplica(const ReplicaRecord& record, bool campaign, StateMachine& machine);
  // Leaves the group for good and removes its data, as an image says that has applied the
  // controller's log up to `controller_index`; `done` once the tombstone is durable. Pre: there is
  // one. Its machine's Group is no more.
  void RemoveReplica(RaftGroupId group, LogIndex controller_index, Task done);

  // The group's replica here; null if there is none.
  const Replica* Find(RaftGroupId group) const { return replicas_.Find(group); }
  // What is known of it here; none if the group has none.
  std::optional<ReplicaState> StateOf(RaftGroupId group) const;
  uint64_t tail_bytes() const;
  size_t replica_count() const { return replicas_.size(); }
  // Replicas that are being restored from others.
  size_t restores_under_way() const { return restorer_.under_way(); }
  // Damaged stretches of logs that are being repaired from others.
  size_t repairs_under_way() const { return repairer_.under_way(); }
  // How often a follower was found to need entries that its leader's log no longer holds.
  uint64_t followers_left_behind() const { return shared_.followers_left_behind; }
  // For how long the oldest write that is not durable has been under way; 0 if there is none.
  Duration oldest_write_age() const { return turn_.oldest_write_age(); }
  // So many were given to the store; where it grows live records come.
  uint64_t writes() const { return turn_.writes(); }

  // Whether the replicas here may lead. If not, they vote and store: this broker lacks what serving
  // clients takes.
  void SetMayLead(bool may_lead);

  // From the Transport.
  void OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to, core::Message message);
  // Of the kinds that are about restoring replicas; others are not its.
  void OnPeerMessage(const BrokerIncarnation& from, PeerKind kind, const Bytes& body);
  void OnPeerConnected(const BrokerIncarnation& peer);
  void OnPeerDisconnected(BrokerId peer);

  // CHECKs the invariants of every core; for simulation.
  void CheckInvariants() const;

 private:
  std::unique_ptr<Replica> MakeReplica(const ReplicaRecord& record, StateMachine& machine);
  void OnTick();
  void GiveUpLeadershipIfDiskStalls();
  void OnSegmentsGrew(RaftGroupId group, LogIndex readable_end);
  void Rebuild(RecoveredReplica recovered);
  // Ticks until the replica asks for votes when the leader is gone, or when somebody came whose
  // vote was lacking. The voters that are left notice together, and would split their votes if they
  // asked together: each has its turn, in an order that differs from group to group, so that
  // leaderships spread.
  uint32_t ElectionTurn(const Replica& replica) const;

  const HostOptions options_;
  const HostEnvironment environment_;
  Random random_;
  Replicas replicas_;
  Turn turn_;
  ReplicaShared shared_;
  PullSource source_;
  Puller puller_;
  Restorer restorer_;
  Repairer repairer_;
  TimerId tick_timer_;
  uint64_t ticks_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::raft

// The Raft protocol of one replica of one group, pure: no thread, clock, file, socket or log output, and
// the same inputs give the same outputs. The shape is etcd/raft's with asynchronous storage: feed inputs
// (Step, Tick, Propose, PeerDisconnected, OnDurable, OnEntriesRead), then take what is to be done
// (TakeReady) and do it. raft/host drives it.
//
// Owned by its host's group and called on its shard's thread only.
//
// What it promises about disks:
//   - No vote and no append reply is handed out before what it promises was reported durable (hazard:
//     double vote, acknowledgement before fsync).
//   - The leader sends entries while its own disk still writes them, and counts itself only up to what
//     was reported durable.
//   - A durability report is bound to the truncation epoch it was asked in, so that a late one never
//     marks entries that replaced others.
//
//   raft.Step(from, message);
//   for (Ready ready = raft.TakeReady(); ...) {
//     send(ready.messages);                            // at once
//     store.Write(ready.write, [&] { raft.OnDurable(ready.write->durable_point); ... });
//     apply(raft.log(), ready.commit_index);
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"
#include "raft/core/message.h"
#include "raft/runtime/random.h"

namespace millrace::raft::core {

struct Options {
  Voter self;
  // A follower campaigns after a time drawn from [election_timeout_ticks, 2 * election_timeout_ticks).
  // The same span is check-quorum's: a leader without a majority's answers for that long falls silent.
  uint32_t election_timeout_ticks = 12;
  uint32_t heartbeat_ticks = 2;
  // After a connection to the leader broke: pre-votes every this many ticks for one election timeout.
  uint32_t fast_pre_vote_ticks = 1;
  // Bytes of entries sent to one follower and not yet acknowledged; the first entry always passes.
  uint64_t inflight_bytes_max = 4 << 20;
  // Bytes of entries in one AppendRequest; the first entry always passes.
  uint64_t append_bytes_max = 1 << 20;
  // Bytes proposed and not yet committed, past which Propose refuses.
  uint64_t uncommitted_bytes_max = 64 << 20;
  uint64_t random_seed = 1;
};

// What a replica starts from, as storage recovered it; for a new replica all but the configuration empty.
struct InitialState {
  HardState hard_state;
  Log log;                      // prefix boundary, terms, and the entries above the segments
  TruncationEpoch epoch;
  LogIndex commit_index;        // known committed: the synced segment end at least
  Configuration configuration;  // in force at the log's prefix boundary, or the first one
};

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader };

// What a StorageWrite's completion proves.
struct DurablePoint {
  uint64_t hard_state_version = 0;
  Term last_term;
  LogIndex last_index;
  TruncationEpoch epoch;
};

// To be made durable as one unit, after all earlier ones of the group.
struct StorageWrite {
  std::optional<HardState> hard_state;
  // Entries at and after this index are void; `epoch` is the truncation's.
  std::optional<LogIndex> truncate_from;
  TruncationEpoch epoch;
  std::vector<Entry> entries;
  DurablePoint durable_point;
};

// Entries below the log's in-memory tail that a follower needs. Answer with OnEntriesRead.
struct EntriesWanted {
  Voter peer;
  LogIndex first_index;
  uint64_t bytes_max = 0;
};

struct Ready {
  std::vector<OutgoingMessage> messages;
  std::optional<StorageWrite> write;
  std::vector<EntriesWanted> wanted;
  LogIndex commit_index;
  // Role, term or leader changed since the last Ready.
  bool leadership_changed = false;
  // Read-index requests (by the id given to ReadIndex) that may now be served once commit_index of the
  // pair is applied.
  struct ReadState {
    uint64_t request_id = 0;
    LogIndex index;
  };
  std::vector<ReadState> read_states;
  // Set if the replica found that its log and the leader's diverged (same term and index, another
  // chain), or that it would truncate below its commit index. The host stops the replica for good.
  Status fault;
};

class Raft {
 public:
  // Pre: options.self.broker is not 0; the initial state is consistent (CHECKed).
  Raft(const Options& options, InitialState initial);
  ~Raft();

  // Inputs ------------------------------------------------------------------------------------------

  // A message from `from`. Stale and misaddressed ones are ignored, so any message is safe to give.
  void Step(const Voter& from, Message message);
  // One tick of the host's timer.
  void Tick();
  // Appends one entry as leader. Pre: is_leader(); entry.index == log().last_index() + 1 and
  // entry.term == term(). RESOURCE_EXHAUSTED past uncommitted_bytes_max; UNAVAILABLE if not leader.
  Status Propose(Entry entry);
  // Starts an election at once; a single voter wins it at once (once its vote is durable).
  void Campaign();
  // The connection to `peer` broke. If it is the leader, pre-votes begin within `delay_ticks`.
  void PeerDisconnected(BrokerId peer, uint32_t delay_ticks);
  // Asks for a linearizable read point (thesis §6.4). UNAVAILABLE unless leader with a commit in its
  // term. Answered in Ready::read_states, or never if leadership is lost.
  Status ReadIndex(uint64_t request_id);
  // Everything up to `point` is durable. Points of earlier epochs count only for what still stands.
  void OnDurable(const DurablePoint& point);
  // The entries asked for by EntriesWanted; empty if they could not be read (asked for again later).
  void OnEntriesRead(const Voter& peer, LogIndex first_index, std::vector<Entry> entries);
  // Gives up leadership for a reason of the host's (a stalled disk).
  void StepDown();
  // Forgets in-memory entries up to `index`, readable from segments from now on.
  // Pre: index <= commit_index().
  void TrimTail(LogIndex index) { log_.TrimTo(index); }

  // Outputs -----------------------------------------------------------------------------------------

  bool HasReady() const;
  // Takes all outputs; the caller carries them out. Writes of successive Readys are carried out in order.
  Ready TakeReady();

  // State -------------------------------------------------------------------------------------------

  Role role() const;
  bool is_leader() const { return role() == Role::kLeader; }
  Term term() const { return hard_state_.term; }
  // The leader of term(), if known; broker 0 otherwise.
  Voter leader() const { return leader_; }
  LogIndex commit_index() const { return commit_index_; }
  // Whether this leader has committed an entry of its own term.
  bool has_committed_in_term() const;
  const Log& log() const { return log_; }
  const Configuration& configuration() const;
  const HardState& hard_state() const { return hard_state_; }
  TruncationEpoch epoch() const { return epoch_; }
  // CHECKs everything that must hold between inputs; for tests and simulation, after every step.
  void CheckInvariants() const;

 private:
  // Owned by the implementer of raft/core.
  Log log_;
  HardState hard_state_;
  Voter leader_;
  LogIndex commit_index_;
  TruncationEpoch epoch_;
};

}  // namespace millrace::raft::core

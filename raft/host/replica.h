// One replica of one group as its host keeps it: the core, the state machine and how far each stage
// of an entry's way has come: appended -> durable (core) -> committed (core) -> applied -> handed
// to segments.
//
// Owned by Host, on the shard's thread. Others read it through Host::Find.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/raft.h"
#include "raft/ports/log_store.h"
#include "raft/ports/state_machine.h"

namespace millrace::raft {

// What log lines say of a replica beside its group's number, e.g. "topic=flights partition=3".
using ReplicaNamer = std::function<std::string(const ReplicaRecord&)>;

class Replica {
 public:
  // A replica that has not joined yet. `applied` is what the state machine's snapshot covers.
  Replica(ReplicaRecord record, StateMachine& machine, LogIndex applied, Status health);

  RaftGroupId group() const { return record_.group; }
  ReplicaId id() const { return {record_.group, record_.number}; }
  const ReplicaRecord& record() const { return record_; }
  // Not ok: silent for good, and why.
  const Status& health() const { return health_; }
  // Not ok: the entry after applied() cannot be applied, and why. The replica goes on to vote, to
  // store and to hand over to segments, for those who can; it does not lead.
  const Status& apply_fault() const { return apply_fault_; }
  // Whether the core runs.
  bool has_joined() const { return core_ != nullptr; }
  // Pre: has_joined().
  const core::Raft& core() const { return *core_; }
  core::Raft& core() { return *core_; }
  StateMachine& machine() { return *machine_; }
  LogIndex applied() const { return applied_; }
  const Leadership& leadership() const { return leadership_; }
  // Where the next record goes and what append time is the least, after everything in the log.
  Offset next_offset() const;
  int64_t last_append_time_ms() const;

  // Starts the core.
  void Join(const core::Options& options, core::InitialState initial);
  // For log lines; null: the group's number alone. The namer outlives the replica.
  void set_namer(const ReplicaNamer* namer) { namer_ = namer; }
  // "group=17 topic=flights partition=3".
  std::string Name() const;
  // Stops the core by an error; the replica stays silent from now on.
  void Fail(Status why);
  // Stops the core as is meant to be: what waits is told `why`.
  void Stop(Status why);
  // Applies the next entry, or stops applying there. Pre: entry.index == applied() + 1;
  // apply_fault() is ok.
  void Apply(const core::Entry& entry);
  // Applies what the core knows committed, hands it to `store`, and rolls where the store wants to.
  // What is committed is handed over even where it can't be applied: it must not keep the journal.
  void ApplyCommitted(LogStore& store);
  // Tells the state machine if role, term, leader or readiness changed.
  void UpdateLeadership();
  // Forgets the tail's oldest entries that segments have, down to `keep_bytes`.
  void TrimTail(LogIndex readable_end, uint64_t keep_bytes);

  // Read barriers by request id, waiting for their round and then for applied to reach it.
  struct Barrier {
    MoveFunction<void(Status)> done;
    std::optional<LogIndex> index;
  };
  std::map<uint64_t, Barrier>& barriers() { return barriers_; }
  // Completes the barriers that applied() has reached, or all with an error once leadership is
  // lost.
  void CompleteBarriers();

  bool is_dirty = false;
  // Not ok: its segments cannot be written just now, and why. It votes, but takes no new entries,
  // which the journal alone would hold, and leads only where nobody else could.
  Status stall;
  // While entries below the tail are applied at start.
  std::optional<core::InitialState> joining;

 private:
  void StopApplying(Status why);
  void HandOverCommitted(LogStore& store);

  ReplicaRecord record_;
  StateMachine* machine_;
  const ReplicaNamer* namer_ = nullptr;
  std::unique_ptr<core::Raft> core_;
  LogIndex applied_;
  Term applied_term_;
  LogIndex handed_over_;
  Leadership leadership_;
  Status health_;
  Status apply_fault_;
  std::map<uint64_t, Barrier> barriers_;
};

}  // namespace millrace::raft

// Restores replicas whose leader's log begins later than theirs ends (Replica tells of them): pulls
// the log from the leader, range by range, and the state once, into a log beside the replica's own,
// which then takes that one's place (docs/adr/0014-restore-by-pull.md).
//
//   Behind -> where the source's log begins -> ranges ... -> state after A -> ranges up to A
//          -> sealed there, durably -> the core stops -> the new log in its place -> a new core
//
// Until it stops the replica votes and answers with the log that it has. Nothing is kept for it
// elsewhere: where the source's begin passes what it needs, it begins again from there. Whoever
// leads is its source, so that it may change.
//
// And replicas that found no state at their start, though their log does not begin with its first
// entry. They have no core and are silent, so that their sources are all members in turn:
//
//   state after A -> A lies in its own log: a core begins on that, with the state
//                 -> or else the log is pulled too, as above
//
// Part of Host, on the shard's thread.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "proto/base/ids.h"
#include "raft/codec/pull_messages.h"
#include "raft/host/environment.h"
#include "raft/host/puller.h"
#include "raft/host/replicas.h"
#include "raft/host/turn.h"
#include "raft/ports/replica_state.h"
#include "raft/runtime/errand.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/pace.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

class Restorer {
 public:
  // A core is made anew on what was restored.
  using Rebuild = MoveFunction<void(RecoveredReplica)>;
  // `puller`, `replicas` and `turn` outlive this.
  Restorer(const HostEnvironment& environment, Puller& puller, const Replicas& replicas, Turn& turn,
           Rebuild rebuild)
      : environment_(environment),
        puller_(&puller),
        replicas_(&replicas),
        turn_(&turn),
        rebuild_(std::move(rebuild)) {}

  // `source` leads, and has not what the replica needs. Nothing more if it is being restored
  // already, or too many others are: it is said again.
  void OnBehind(const Replica& replica, const Voter& source);
  // The replica has joined without_state().
  void OnStateLost(const Replica& replica);
  // The replica is gone.
  void Forget(RaftGroupId group);
  void Stop();

  size_t under_way() const { return restores_.size(); }
  // Or waits for others.
  bool IsUnderWay(RaftGroupId group) const {
    return restores_.contains(group) || waiting_.contains(group);
  }
  // None if the group's replica is not being restored.
  std::optional<RestoreProgress> ProgressOf(RaftGroupId group) const;

 private:
  struct Restore {
    Restore(Executor& executor, const Lifetime& owner, const PaceBesideWrites& own_pace)
        : errand(executor, owner), pace(own_pace) {}

    Errand errand;
    ReplicaId replica;
    Voter source;
    std::vector<Voter> sources;  // one after the other, of a replica that hears of no leader
    Voter pulled_from;           // that gave the last entries
    bool has_begun = false;
    core::LogPoint begin;             // of the log that is pulled
    core::LogPoint end;               // of what the store has
    LogIndex source_commit;           // as the source said last
    core::CompactionPoint compacted;  // of all that was pulled since it began
    std::optional<StatePiece> state;
    MonotonicTime began{};
    MonotonicTime asked_at{};
    PaceBesideWrites pace;
    uint64_t bytes = 0;
  };
  using RestorePtr = std::shared_ptr<Restore>;

  // The replica, if it takes part still or lacks a state; else its restore is over.
  Replica* Find(const RestorePtr& restore);
  RestorePtr Add(const Replica& replica);
  // Those that wait for a state, as many as may.
  void BeginNext();
  void BeginWithoutState(const Replica& replica);
  void Ask(const RestorePtr& restore);
  // Where it has a choice.
  static void TakeNextSource(const RestorePtr& restore);
  void OnRange(const RestorePtr& restore, const Voter& from, RangeReply reply);
  void AskState(const RestorePtr& restore);
  void OnState(const RestorePtr& restore, StatePiece state);
  // The state is of an entry in the replica's own log, on which a core begins.
  void TakeState(const RestorePtr& restore, const Replica& replica, const StatePiece& state);
  // Calls `then` with the restore after a while, unless it is over.
  void After(const RestorePtr& restore, Duration wait, void (Restorer::*then)(const RestorePtr&));
  void Begin(const RestorePtr& restore, const core::LogPoint& begin);
  void Append(const RestorePtr& restore, std::vector<core::Entry> entries, LogIndex commit);
  void OnAppended(const RestorePtr& restore, LogIndex commit, uint64_t bytes);
  void Seal(const RestorePtr& restore);
  // Once the replica's core has nothing to be written, and knows a term that is as new.
  void TryAdopt(const RestorePtr& restore);
  void Adopt(const RestorePtr& restore, Replica* replica, const core::HardState& hard_state);
  void OnError(const RestorePtr& restore, const Status& why);
  void GiveUp(const RestorePtr& restore);
  void End(const RestorePtr& restore);

  const HostEnvironment environment_;
  Puller* puller_;
  const Replicas* replicas_;
  Turn* turn_;
  Rebuild rebuild_;
  // Shared with what is under way for them, which asks whether they still are.
  std::map<RaftGroupId, RestorePtr> restores_;
  std::set<RaftGroupId> waiting_;  // without a state, and too many others are being restored
  Lifetime lifetime_;
};

}  // namespace millrace::raft

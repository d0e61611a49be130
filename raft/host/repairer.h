// Makes damaged stretches of logs here whole again (LogStore::damaged_range): what is intact of one
// is read back, the rest is pulled from other members of the group, and the chain proves each entry
// and the end. Nobody needs to lead, and the replica goes on with everything but reads of that
// stretch (docs/adr/0015-repair-from-peers.md).
//
//   begin of the range -> what is here, or else what a member has -> ... -> its end -> in its place
//
// A file here may begin before all others' logs, in what they dropped: a gap stands for that, as
// nobody reads before the log start. Any other stretch that no member has is lost: readers of it
// are told so, and those behind it are repaired. It is looked for again now and then, as a member
// may be repaired, too.
//
// Few go on at a time. One that waits for a member that is away, or for its own disk, lets the
// others have its turn, with what it has so far beside its log.
//
// Part of Host, on the shard's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
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
#include "raft/runtime/errand.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::raft {

class Repairer {
 public:
  // `puller` and `replicas` outlive this. `is_taken`: whether a group's log is to be replaced
  // anyway.
  Repairer(const HostEnvironment& environment, Puller& puller, const Replicas& replicas,
           std::function<bool(RaftGroupId)> is_taken)
      : environment_(environment),
        puller_(&puller),
        replicas_(&replicas),
        is_taken_(std::move(is_taken)) {}

  // A stretch of the group's log is damaged.
  void OnDamage(RaftGroupId group);
  // Whether no member had a stretch of it that is damaged here, when they were asked last; where
  // there is no other, whether there is any.
  bool IsLost(RaftGroupId group) const { return lost_.contains(group); }
  // The replica is gone, or its log.
  void Forget(RaftGroupId group);
  void Stop();

  size_t under_way() const { return repairs_.size(); }

 private:
  struct Repair {
    Repair(Executor& executor, const Lifetime& owner) : errand(executor, owner) {}

    Errand errand;
    ReplicaId replica;
    DamagedRange range;
    std::vector<Voter> members;  // the others
    size_t asking = 0;           // of these
    size_t empty_answers = 0;    // in a row, of any of them
    size_t unable = 0;           // members in a row that do not have the next entry
    size_t in_vain = 0;          // answers and reads in a row that gave nothing
    bool is_waiting = false;     // for its turn
    core::LogPoint dropped;      // the lowest begin behind it that one of these told, if one did
    core::LogPoint end;          // of what the store has
    int64_t append_time_ms = 0;  // of the last of that
    uint64_t pulled_bytes = 0;
    core::CompactionPoint given{.pass = UINT32_MAX};  // how all that was pulled is compacted
    MonotonicTime began{};
  };
  using RepairPtr = std::shared_ptr<Repair>;

  bool IsTurnFree() const;
  void BeginNext();
  // One that waits for its turn goes on.
  void Begin(RaftGroupId group);
  std::optional<DamagedRange> NextRange(RaftGroupId group);
  // The next entries: from here, or else from a member.
  void Read(const RepairPtr& repair);
  void Pull(const RepairPtr& repair);
  void OnPulled(const RepairPtr& repair, Result<RangeReply> reply);
  // False: they are not what follows.
  bool Append(const RepairPtr& repair, std::vector<core::Entry> entries);
  // Whether what a member has that is compacted like this may stand beside what is here, and beside
  // what others gave.
  bool FitsCompaction(const RepairPtr& repair, const core::CompactionPoint& theirs);
  // False: nobody said that it was dropped.
  bool AppendGap(const RepairPtr& repair);
  void CountAnswer(const RepairPtr& repair, const Result<RangeReply>& reply);
  void AskNext(const RepairPtr& repair);
  void Finish(const RepairPtr& repair);
  void OnLost(const RepairPtr& repair);
  void OnError(const RepairPtr& repair, const Status& why);
  // It is over, whatever came of it.
  void End(const RepairPtr& repair);
  // Looks at the group again after a while.
  void Later(RaftGroupId group, Duration wait);
  // What has to come by itself is looked at again after a pause, or in the repair's next turn.
  void Again(const RepairPtr& repair, void (Repairer::*then)(const RepairPtr&));

  const HostEnvironment environment_;
  Puller* puller_;
  const Replicas* replicas_;
  std::function<bool(RaftGroupId)> is_taken_;
  // Shared with what is under way for them, which asks whether they still are.
  std::map<RaftGroupId, RepairPtr> repairs_;
  std::deque<RaftGroupId> due_;  // for their turn, first come first
  std::set<RaftGroupId> lost_;
  // Up to where all damage was tried and is lost, while what is behind it is repaired.
  std::map<RaftGroupId, LogIndex> passed_;
  std::map<RaftGroupId, TimerId> later_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft

// Who leads which Raft group, as far as this broker has heard: from its own replicas and from the
// leaders' reports. Hints, never truth: a leader that is asked and isn't says so.
//
// Owned by the Node, on the shard's thread. Pure.
#pragma once

#include <cstdint>
#include <map>

#include "proto/base/ids.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

struct LeaderHint {
  BrokerId leader;  // 0: none known
  Term term;
  bool operator==(const LeaderHint&) const = default;
};

class LeaderTable {
 public:
  // Takes a report unless a newer term is known. Whoever listens is told of a change.
  void Report(RaftGroupId group, const LeaderHint& hint);
  // The leader of `term` gave up or was lost, and no other is known.
  void Lost(RaftGroupId group, Term term);
  // Every group that `broker` leads has no known leader.
  void BrokerGone(BrokerId broker);
  void Forget(RaftGroupId group) { hints_.erase(group); }

  LeaderHint Find(RaftGroupId group) const;

  // Calls `listener` once after any change, unless it is forgotten before: there may be none for
  // days. Listeners are called in the order they were added.
  uint64_t OnceChanged(Task listener) {
    listeners_.emplace(++last_listener_, std::move(listener));
    return last_listener_;
  }
  void ForgetListener(uint64_t listener) { listeners_.erase(listener); }

 private:
  void NotifyChanged();

  std::map<RaftGroupId, LeaderHint> hints_;
  std::map<uint64_t, Task> listeners_;
  uint64_t last_listener_ = 0;
};

}  // namespace millrace::broker

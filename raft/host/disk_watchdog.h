// For how long writes take: a leader whose disk stalls keeps its followers from
// electing another, for its heartbeats need no disk.
//
// Owned by Turn, on the shard's thread. Pure: it is told the time.
//
//   watchdog.OnSubmitted(now);
//   if (watchdog.OldestAge(clock.Now()) > limit) ...
//   watchdog.OnDurable(now);
#pragma once

#include <set>

#include "raft/runtime/clock.h"

namespace millrace::raft {

class DiskWatchdog {
 public:
  // A write begins.
  void OnSubmitted(MonotonicTime now) { under_way_.insert(now); }
  // One that was submitted then is durable. Pre: there is one.
  void OnDurable(MonotonicTime submitted_at);
  // For how long the oldest write that is not durable has been under way; 0 if there is none, and
  // never 0 if there is one.
  Duration OldestAge(MonotonicTime now) const;

 private:
  std::multiset<MonotonicTime> under_way_;  // when they were submitted
};

}  // namespace millrace::raft

// For how long the journal's writes take: a leader whose disk stalls keeps its followers from
// electing another, for its heartbeats need no disk.
//
// Owned by Turn, on the shard's thread. Pure: it is told the time.
//
//   watchdog.OnSubmitted(clock.Now());
//   if (watchdog.OldestAge(clock.Now()) > limit) ...
//   watchdog.OnDurable();
#pragma once

#include <deque>

#include "raft/runtime/clock.h"

namespace millrace::raft {

class DiskWatchdog {
 public:
  // A write begins. They become durable in this order.
  void OnSubmitted(MonotonicTime now) { under_way_.push_back(now); }
  // The oldest one is durable. Pre: there is one.
  void OnDurable();
  // For how long the oldest write that is not durable has been under way; 0 if there is none, and
  // never 0 if there is one.
  Duration OldestAge(MonotonicTime now) const;

 private:
  std::deque<MonotonicTime> under_way_;  // when they were submitted
};

}  // namespace millrace::raft

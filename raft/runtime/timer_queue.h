// The timers of one executor, by deadline; equal deadlines in the order they were set.
//
// Owned by EventLoop, on its thread. Reads no clock.
//
//   TimerId id = timers.Add(now + delay, std::move(task));
//   while (Task task = timers.TakeDue(now)) task();
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "raft/runtime/executor.h"

namespace millrace {

class TimerQueue {
 public:
  TimerId Add(MonotonicTime deadline, Task task);
  void Cancel(TimerId timer);
  // When the next timer is due; nullopt without any.
  std::optional<MonotonicTime> NextDeadline() const;
  // The first timer due at `now`, taken out; an empty Task if none is.
  Task TakeDue(MonotonicTime now);
  // What the next timer that is added will be called: those below were set before.
  uint64_t next_id() const { return next_id_; }
  // Takes everything out, for its owner to destroy.
  std::map<std::pair<MonotonicTime, uint64_t>, Task> TakeAll();

 private:
  uint64_t next_id_ = 1;
  std::map<std::pair<MonotonicTime, uint64_t>, Task> by_deadline_;
  std::unordered_map<uint64_t, MonotonicTime> deadlines_;  // looked up by id, never iterated
};

}  // namespace millrace

// Runs tasks one after the other on one thread: a shard's run loop, the journal's thread, or in the
// simulator a slice of the one event loop. "One thread owns each thing" (design D2) means: all its
// methods and callbacks run on one Executor.
//
//   executor.Post([this] { Flush(); });
//   timer_ = executor.RunAfter(kTick, [this] { OnTick(); });
#pragma once

#include <cstdint>

#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace {

// 0 is no timer.
using TimerId = StrongId<struct TimerIdTag, uint64_t>;

class Executor {
 public:
  virtual ~Executor() = default;

  // Runs `task` on the executor's thread, after the tasks posted before it; never inline. Any
  // thread. Tasks posted after the executor stopped are destroyed without being run.
  virtual void Post(Task task) = 0;

  // Runs `task` once `delay` has passed. Owner thread only.
  virtual TimerId RunAfter(Duration delay, Task task) = 0;
  // Forgets the timer; no effect if it has run or was cancelled. Owner thread only.
  virtual void Cancel(TimerId timer) = 0;

  // Whether the caller is on the executor's thread. Any thread.
  virtual bool IsOwnerThread() const = 0;
};

}  // namespace millrace

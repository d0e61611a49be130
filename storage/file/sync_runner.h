// Where the real files sync: on the thread that asks, which then waits for the disk, or on one that
// is there for nothing else, so that the asking one reads and writes meanwhile (docs/adr/0003).
//
// On the thread of `executor`. Both executors outlive what was asked for.
#pragma once

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"

namespace millrace::storage {

class SyncRunner {
 public:
  // `sync_executor` may be `executor`.
  SyncRunner(Executor& executor, Executor& sync_executor)
      : executor_(executor), sync_executor_(sync_executor) {}

  // Runs `sync` and posts `done` with its outcome to `executor`. Syncs run in the order of the
  // calls.
  void Run(MoveFunction<Status()> sync, MoveFunction<void(Status)> done) const;

 private:
  Executor& executor_;
  Executor& sync_executor_;
};

}  // namespace millrace::storage

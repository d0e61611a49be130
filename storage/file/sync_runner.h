// Where the real files sync: on the thread that asks, which then waits for the disk, or on some
// that are there for nothing else, so that the asking one reads and writes meanwhile, and several
// files share a commit of the file system's journal (docs/adr/0003).
//
// On the thread of `executor`. All executors outlive what was asked for; so do their threads, but
// what is asked for may outlive this object.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/task.h"

namespace millrace::storage {

class SyncRunner : public std::enable_shared_from_this<SyncRunner> {
 public:
  // The syncs of one file: the kernel tells an error of writing to the first that asks, so that no
  // two of them may be under way together.
  class File {
    friend class SyncRunner;
    size_t under_way_ = 0;
    size_t thread_ = 0;  // where those under way are
  };

  // On `executor` itself if there are no `threads`.
  SyncRunner(Executor& executor, const std::vector<Executor*>& threads);

  // Runs `sync` and posts `done` with its outcome to `executor`. Those of one file run and complete
  // in the order of the calls.
  void Run(const std::shared_ptr<File>& file, MoveFunction<Status()> sync,
           MoveFunction<void(Status)> done);

 private:
  struct Thread {
    Executor* executor;
    size_t waiting = 0;  // with the one that runs
  };
  size_t LeastBusy() const;

  Executor& executor_;
  std::vector<Thread> threads_;
};

}  // namespace millrace::storage

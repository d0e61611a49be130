#include "storage/file/sync_runner.h"

#include <utility>

namespace millrace::storage {

void SyncRunner::Run(MoveFunction<Status()> sync, MoveFunction<void(Status)> done) const {
  auto run = [executor = &executor_, sync = std::move(sync), done = std::move(done)]() mutable {
    executor->Post(
        [done = std::move(done), status = sync()]() mutable { done(std::move(status)); });
  };
  if (&sync_executor_ == &executor_) return run();
  sync_executor_.Post(std::move(run));
}

}  // namespace millrace::storage

#include "storage/file/sync_runner.h"

#include <algorithm>
#include <utility>

namespace millrace::storage {

SyncRunner::SyncRunner(Executor& executor, const std::vector<Executor*>& threads)
    : executor_(executor) {
  for (Executor* thread : threads) threads_.push_back({.executor = thread});
}

size_t SyncRunner::LeastBusy() const {
  return static_cast<size_t>(std::ranges::min_element(threads_, {}, &Thread::waiting) -
                             threads_.begin());
}

void SyncRunner::Run(const std::shared_ptr<File>& file, MoveFunction<Status()> sync,
                     MoveFunction<void(Status)> done) {
  if (threads_.empty()) {
    return executor_.Post(
        [done = std::move(done), status = sync()]() mutable { done(std::move(status)); });
  }
  if (file->under_way_ == 0) file->thread_ = LeastBusy();
  ++file->under_way_;
  ++threads_[file->thread_].waiting;
  auto complete = [self = shared_from_this(), file, done = std::move(done)](Status status) mutable {
    --file->under_way_;
    --self->threads_[file->thread_].waiting;
    done(std::move(status));
  };
  threads_[file->thread_].executor->Post(
      [executor = &executor_, sync = std::move(sync), complete = std::move(complete)]() mutable {
        executor->Post([complete = std::move(complete), status = sync()]() mutable {
          complete(std::move(status));
        });
      });
}

}  // namespace millrace::storage

// "One thread owns each thing" (design D2), held in debug builds: an object that belongs to an
// Executor asserts that it is called there.
//
// Holds a reference; copy freely.
//
//   ThreadOwner owner_{executor};
//   void Append(...) { owner_.Check(); ... }
#pragma once

#include <glog/logging.h>

#include "raft/runtime/executor.h"

namespace millrace {

class ThreadOwner {
 public:
  explicit ThreadOwner(const Executor& executor) : executor_(&executor) {}
  // Compiled out with NDEBUG. Any thread may call it; all but the owner's crash.
  void Check() const { DCHECK(executor_->IsOwnerThread()) << "called off its thread"; }

 private:
  const Executor* executor_;
};

}  // namespace millrace

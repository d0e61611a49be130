#include "broker/api/client_memory.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::broker {

void MemoryBudget::Give(uint64_t bytes) {
  CHECK_LE(bytes, used_);
  used_ -= bytes;
  // What a woken one gives back at once is seen by the loop that woke it.
  if (is_waking_) return;
  is_waking_ = true;
  while (!waiters_.empty() && waiters_.begin()->first.bytes <= free()) {
    Task task = std::move(waiters_.begin()->second);
    waiters_.erase(waiters_.begin());
    task();
  }
  is_waking_ = false;
}

MemoryBudget::WaiterId MemoryBudget::Wait(uint64_t bytes, Task task) {
  CHECK_LE(bytes, bytes_max_);
  const WaiterId id{.bytes = bytes, .number = next_waiter_++};
  waiters_.emplace(id, std::move(task));
  return id;
}

}  // namespace millrace::broker

// The memory that clients can make this broker hold, counted where it is held: batches on their way
// in, batches on their way out, and what streams read. Nobody's share is fixed. A holder may have a
// part of what is free at the moment (dynamic thresholds, Choudhury and Hahne 1998): alone it is
// not held back, among many each gets less.
//
// One per broker, owned by the Node; the edge and the services share it. On the shard's thread.
//
//   if (held < memory.outgoing.Allowance()) Read(...);
//   memory.outgoing.Take(bytes);  ...  memory.outgoing.Give(bytes);
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <utility>

#include "raft/runtime/task.h"

namespace millrace::broker {

class MemoryBudget {
 public:
  // One holder may have 1/`divisor` of what is free.
  MemoryBudget(uint64_t bytes_max, uint64_t divisor) : bytes_max_(bytes_max), divisor_(divisor) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  uint64_t bytes_max() const { return bytes_max_; }
  uint64_t used() const { return used_; }
  uint64_t free() const { return used_ >= bytes_max_ ? 0 : bytes_max_ - used_; }
  // What one holder may hold now.
  uint64_t Allowance() const { return free() / divisor_; }

  // May go over the maximum: what has arrived is counted, too. Whoever takes looks first.
  void Take(uint64_t bytes) { used_ += bytes; }
  // Pre: so much was taken.
  void Give(uint64_t bytes);

  // Calls `task` once, from within the Give after which `bytes` are free. Who asks for least comes
  // first, then who has waited longest.
  struct WaiterId {
    uint64_t bytes = 0;
    uint64_t number = 0;  // 0: none
    auto operator<=>(const WaiterId&) const = default;
  };
  WaiterId Wait(uint64_t bytes, Task task);
  void CancelWait(const WaiterId& waiter) { waiters_.erase(waiter); }
  bool has_waiters() const { return !waiters_.empty(); }
  size_t waiter_count() const { return waiters_.size(); }

 private:
  const uint64_t bytes_max_;
  const uint64_t divisor_;
  uint64_t used_ = 0;
  std::map<WaiterId, Task> waiters_;
  uint64_t next_waiter_ = 1;
  bool is_waking_ = false;
};

// Bytes taken from a budget, given back when this goes. The budget outlives it.
class MemoryHold {
 public:
  MemoryHold() = default;
  MemoryHold(MemoryBudget& budget, uint64_t bytes) : budget_(&budget), bytes_(bytes) {
    budget.Take(bytes);
  }
  ~MemoryHold() { Release(); }
  MemoryHold(MemoryHold&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  MemoryHold& operator=(MemoryHold&& other) noexcept {
    if (this != &other) {
      Release();
      budget_ = std::exchange(other.budget_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }

  uint64_t bytes() const { return bytes_; }
  void Release() {
    MemoryBudget* budget = std::exchange(budget_, nullptr);
    if (budget != nullptr) budget->Give(std::exchange(bytes_, 0));
  }

 private:
  MemoryBudget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

struct ClientMemory {
  explicit ClientMemory(uint64_t bytes_max)
      : incoming(bytes_max / 4, 8), outgoing(bytes_max / 2, 32), sessions(bytes_max / 4, 8) {}

  // Unanswered batches and calls. They are answered or refused within seconds, whatever clients do.
  MemoryBudget incoming;
  // What is read for clients or written to them and not yet taken by the transport.
  MemoryBudget outgoing;
  // Partitions that streams read.
  MemoryBudget sessions;
};

}  // namespace millrace::broker

// Simulated time: events in the order of their time, and of their posting where times are equal, so
// that a run depends on nothing but its seed.
//
// Owned by Cluster; one thread.
//
//   queue.After(25'000, [&] { replica.Tick(); });
//   while (queue.RunNext(end_us)) CheckInvariants();
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "raft/runtime/task.h"

namespace millrace::simulation::core {

class EventQueue {
 public:
  int64_t now_us() const { return now_us_; }

  void After(int64_t delay_us, Task task) { At(now_us_ + delay_us, std::move(task)); }

  // A time in the past means now.
  void At(int64_t time_us, Task task) {
    heap_.push_back({std::max(time_us, now_us_), next_sequence_++, std::move(task)});
    std::push_heap(heap_.begin(), heap_.end(), IsLater);
  }

  // Runs the next event if it is due before `until_us`; otherwise moves the clock there and is
  // false.
  bool RunNext(int64_t until_us) {
    if (heap_.empty() || heap_.front().time_us >= until_us) {
      now_us_ = std::max(now_us_, until_us);
      return false;
    }
    std::pop_heap(heap_.begin(), heap_.end(), IsLater);
    Event event = std::move(heap_.back());
    heap_.pop_back();
    now_us_ = event.time_us;
    event.task();
    return true;
  }

 private:
  struct Event {
    int64_t time_us = 0;
    uint64_t sequence = 0;
    Task task;
  };
  static bool IsLater(const Event& a, const Event& b) {
    return a.time_us != b.time_us ? a.time_us > b.time_us : a.sequence > b.sequence;
  }

  std::vector<Event> heap_;
  int64_t now_us_ = 0;
  uint64_t next_sequence_ = 0;
};

}  // namespace millrace::simulation::core

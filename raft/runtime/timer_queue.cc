#include "raft/runtime/timer_queue.h"

namespace millrace {

TimerId TimerQueue::Add(MonotonicTime deadline, Task task) {
  const uint64_t id = next_id_++;
  by_deadline_.emplace(std::pair(deadline, id), std::move(task));
  deadlines_.emplace(id, deadline);
  return TimerId(id);
}

void TimerQueue::Cancel(TimerId timer) {
  const auto found = deadlines_.find(timer.value());
  if (found == deadlines_.end()) return;
  const std::pair key(found->second, timer.value());
  deadlines_.erase(found);
  auto cancelled = by_deadline_.extract(key);  // The task dies once both maps agree again.
}

std::optional<MonotonicTime> TimerQueue::NextDeadline() const {
  if (by_deadline_.empty()) return std::nullopt;
  return by_deadline_.begin()->first.first;
}

Task TimerQueue::TakeDue(MonotonicTime now) {
  if (by_deadline_.empty() || by_deadline_.begin()->first.first > now) return {};
  auto first = by_deadline_.extract(by_deadline_.begin());
  deadlines_.erase(first.key().second);
  return std::move(first.mapped());
}

std::map<std::pair<MonotonicTime, uint64_t>, Task> TimerQueue::TakeAll() {
  deadlines_.clear();
  return std::exchange(by_deadline_, {});
}

}  // namespace millrace

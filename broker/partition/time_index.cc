#include "broker/partition/time_index.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::broker {

void TimeIndex::Add(LogIndex index, int64_t timestamp_ms) {
  int64_t newest_ms = timestamp_ms;
  if (!points_.empty()) {
    CHECK_GT(index, points_.back().last);
    newest_ms = std::max(newest_ms, points_.back().newest_ms);
  }
  if (points_.empty() || entries_in_last_ == kEntriesPerPoint) {
    points_.emplace_back();
    entries_in_last_ = 0;
  }
  points_.back() = {.last = index, .newest_ms = newest_ms};
  ++entries_in_last_;
}

void TimeIndex::DropBefore(LogIndex index) {
  while (!points_.empty() && points_.front().last < index) points_.pop_front();
}

std::optional<TimeIndex::Stretch> TimeIndex::Find(int64_t timestamp_ms) const {
  const auto reaches = std::partition_point(
      points_.begin(), points_.end(),
      [timestamp_ms](const Point& point) { return point.newest_ms < timestamp_ms; });
  if (reaches == points_.end()) return std::nullopt;
  return Stretch{.after = reaches == points_.begin() ? LogIndex() : std::prev(reaches)->last,
                 .last = reaches->last};
}

}  // namespace millrace::broker

#include "broker/partition/retention.h"

namespace millrace::broker {

Offset RetainedFrom(const std::deque<raft::SealedSegment>& sealed, const RetentionLimits& limits,
                    std::optional<int64_t> wall_ms) {
  // What is left once the first one that is too many went, where none is larger than a quarter of
  // the limit. One that is, as it could not be ended in time, goes no sooner.
  const uint64_t left_min = limits.bytes - limits.bytes / 4;
  uint64_t bytes = 0;
  size_t too_many = sealed.size();  // so many go by size
  while (too_many > 0 && (bytes < left_min || sealed[too_many - 1].bytes <= limits.bytes - bytes)) {
    bytes += sealed[--too_many].bytes;
    if (bytes > limits.bytes) break;
  }
  Offset start;
  for (size_t i = 0; i < sealed.size(); ++i) {
    const raft::SealedSegment& segment = sealed[i];
    const bool is_old =
        wall_ms.has_value() &&
        segment
            .last_append_ms<*wall_ms&& static_cast<uint64_t>(*wall_ms - segment.last_append_ms)>
                limits.time_ms;
    if (i >= too_many && !is_old) break;
    start = segment.end.next_offset;
  }
  return start;
}

}  // namespace millrace::broker

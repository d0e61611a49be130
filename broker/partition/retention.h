// Which of a partition's segments its topic's retention lets go: by size and by age, whole segments
// alone, oldest first. The leader asks, and what it decides goes into the log as an offset; the
// other replicas ask nothing (docs/adr/0011-a-log-with-a-beginning.md).
//
// Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "proto/base/ids.h"
#include "raft/ports/log_store.h"

namespace millrace::broker {

struct RetentionLimits {
  // The newest segments stay that together have no more bytes; beside the one that is written on,
  // and one that is larger than a quarter of this, without which less than three quarters were
  // left.
  uint64_t bytes = UINT64_MAX;
  // A segment goes once all that it holds was appended so long ago.
  uint64_t time_ms = UINT64_MAX;
  bool operator==(const RetentionLimits&) const = default;
};

// Of the oldest record that stays; 0: nothing goes. `wall_ms`: milliseconds since 1970; none:
// nothing goes by age.
Offset RetainedFrom(const std::deque<raft::SealedSegment>& sealed, const RetentionLimits& limits,
                    std::optional<int64_t> wall_ms);

}  // namespace millrace::broker

// What a store tells of a partition's sealed segments, as tests of what is decided by them want it.
#pragma once

#include <cstdint>
#include <deque>

#include "raft/ports/log_store.h"

namespace millrace::broker {

// Segments of 100 bytes, 10 entries and 20 records each, the first one's last append at 1 s, the
// next one's at 2 s and so on.
inline std::deque<raft::SealedSegment> Segments(uint64_t count) {
  std::deque<raft::SealedSegment> sealed;
  for (uint64_t i = 0; i < count; ++i) {
    const auto records = static_cast<int64_t>(20 * i);
    sealed.push_back({.end = {.index = LogIndex(10 * (i + 1)), .next_offset = Offset(records + 20)},
                      .base_offset = Offset(records),
                      .bytes = 100,
                      .last_append_ms = static_cast<int64_t>(1000 * (i + 1)),
                      .has_state = true});
  }
  return sealed;
}

}  // namespace millrace::broker

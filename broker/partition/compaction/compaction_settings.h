// What a topic's settings say to those who compact its partitions (broker/config/topic_settings.h).
//
// A value.
#pragma once

#include <cstdint>

namespace millrace::broker {

struct CompactionSettings {
  bool is_compacted = false;
  bool expires = true;  // retention lets records go, too
  uint64_t tombstone_retention_ms = 86'400'000;
  uint64_t dirty_ratio_min_ppm = 500'000;  // millionths
  uint64_t compaction_lag_min_ms = 0;
  bool operator==(const CompactionSettings&) const = default;
};

}  // namespace millrace::broker

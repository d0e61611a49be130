// What a shard's leader forgets by itself: what was committed for topics that are deleted, what is
// older than it is kept, and groups that have nothing left.
//
// Pure. Each record says up to which entry it was decided, so that what a group commits meanwhile
// stays.
//
//   records = Sweep(state, applied, image, {.wall_ms = now, .retention_ms = week}, &cursor);
#pragma once

#include <cstdint>
#include <optional>

#include "broker/controller/image.h"
#include "broker/coordinator/shard_state.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/ids.h"

namespace millrace::broker {

struct SweepTime {
  std::optional<int64_t> wall_ms;  // none: nothing is old
  int64_t retention_ms = 0;
};

// Looks at some of the groups behind the cursor, which begins anew at the end. `applied`: the last
// entry of `state`.
internal::v1::CoordinatorRecords Sweep(const ShardState& state, LogIndex applied,
                                       const Image& image, const SweepTime& time,
                                       ShardState::Cursor* cursor);

}  // namespace millrace::broker

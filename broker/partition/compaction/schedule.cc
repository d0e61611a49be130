#include "broker/partition/compaction/schedule.h"

#include <algorithm>

#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

constexpr uint64_t kMillion = 1'000'000;

// Whether all that the segment holds was appended so long ago.
bool IsOlder(const raft::SealedSegment& segment, uint64_t age_ms, std::optional<int64_t> wall_ms) {
  return wall_ms.has_value() &&
         segment.last_append_ms<*wall_ms&& static_cast<uint64_t>(*wall_ms - segment.last_append_ms)>
             age_ms;
}

// Whether a pass would let tombstones go that all before had to leave: of those that it could let
// go, by what all members have done, all are old enough.
bool AreTombstonesDue(const std::deque<raft::SealedSegment>& sealed, const CompactionState& state,
                      const CompactionSettings& settings, uint32_t settled,
                      std::optional<int64_t> wall_ms) {
  if (settled != state.pass || state.pass == 0) return false;
  const raft::SealedSegment* newest = nullptr;
  for (const raft::SealedSegment& segment : sealed) {
    if (segment.base_offset < state.clean_to) newest = &segment;
  }
  if (newest == nullptr || !IsOlder(*newest, settings.tombstone_retention_ms, wall_ms)) {
    return false;
  }
  const bool had_all =
      state.tombstones_below == state.clean_to && state.older_than_ms > newest->last_append_ms;
  return !had_all;
}

}  // namespace

CompactionState NextPass(const CompactionState& state, Offset clean_to, uint32_t settled,
                         int64_t older_than_ms) {
  CompactionState next{.pass = state.pass + 1,
                       .clean_to = clean_to,
                       .clean_from = state.clean_to,
                       .settled = state.settled,
                       .tombstones_below = state.tombstones_below,
                       .older_than_ms = older_than_ms};
  if (settled == state.pass) {
    next.settled = settled;
    next.tombstones_below = state.clean_to;
  }
  return next;
}

std::optional<CompactionState> DuePass(const std::deque<raft::SealedSegment>& sealed,
                                       const CompactionState& state,
                                       const CompactionSettings& settings,
                                       const PassCircumstances& now) {
  const auto& [settled, wall_ms, last_stable] = now;
  uint64_t bytes = 0;
  uint64_t dirty_bytes = 0;
  Offset clean_to = state.clean_to;
  for (const raft::SealedSegment& segment : sealed) {
    const bool is_dirty = segment.end.next_offset > state.clean_to;
    const bool is_too_young = settings.compaction_lag_min_ms > 0 &&
                              !IsOlder(segment, settings.compaction_lag_min_ms, wall_ms);
    const bool is_open = segment.end.next_offset > last_stable;
    if (is_dirty && (is_too_young || is_open)) break;
    bytes += segment.bytes;
    if (is_dirty) dirty_bytes += segment.bytes;
    clean_to = std::max(clean_to, segment.end.next_offset);
  }
  const bool is_dirty_enough =
      dirty_bytes > 0 &&
      static_cast<double>(dirty_bytes) * kMillion >=
          static_cast<double>(bytes) * static_cast<double>(settings.dirty_ratio_min_ppm);
  const bool is_for_tombstones =
      !is_dirty_enough && AreTombstonesDue(sealed, state, settings, settled, wall_ms);
  if (!is_dirty_enough && !is_for_tombstones) return std::nullopt;
  MILLRACE_SOMETIMES_IF("a pass was for tombstones alone", is_for_tombstones);
  const int64_t older_than_ms =
      wall_ms.has_value()
          ? std::max<int64_t>(0, *wall_ms - static_cast<int64_t>(std::min<uint64_t>(
                                                settings.tombstone_retention_ms, INT64_MAX)))
          : 0;
  return NextPass(state, clean_to, settled, older_than_ms);
}

}  // namespace millrace::broker

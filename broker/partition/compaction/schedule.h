// When a partition's next pass of compaction is due, and what it says: a pure function of the
// leader's sealed segments, of what was decided before, and of the topic's settings. The leader
// asks, and what it decides goes into the log; replicas ask nothing
// (docs/adr/0016-compaction.md).
//
// Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "broker/partition/compaction/compaction_settings.h"
#include "proto/base/ids.h"
#include "raft/ports/log_store.h"

namespace millrace::broker {

// What the partition's newest pass says, as each replica has applied it. All 0: there was none.
struct CompactionState {
  uint32_t pass = 0;  // its number
  // Of two records of a key below this one the older one goes.
  Offset clean_to;
  Offset clean_from;  // clean_to of the pass before: what that left below has no such two
  // The newest pass that all members had done.
  uint32_t settled = 0;
  // Tombstones below this, where that one ended, and appended before then, go.
  Offset tombstones_below;
  int64_t older_than_ms = 0;  // milliseconds since 1970
  bool operator==(const CompactionState&) const = default;
};

// The state once the next pass was decided like this.
CompactionState NextPass(const CompactionState& state, Offset clean_to, uint32_t settled,
                         int64_t older_than_ms);

// What the next pass depends on beside the log.
struct PassCircumstances {
  uint32_t settled = 0;  // the newest pass that all members have done
  // Milliseconds since 1970; none while the clock is in doubt: then nothing goes, or stays, by age.
  std::optional<int64_t> wall_ms;
  // What became of transactions is known of records below it: no pass goes further.
  Offset last_stable = Offset(INT64_MAX);
};

// Nullopt: none is due. Pre: the leader itself has done the newest pass.
std::optional<CompactionState> DuePass(const std::deque<raft::SealedSegment>& sealed,
                                       const CompactionState& state,
                                       const CompactionSettings& settings,
                                       const PassCircumstances& now);

}  // namespace millrace::broker

// What a pass of compaction leaves of the entries of one segment: batches without the records that
// go, and gaps where nothing is left (docs/adr/0016-compaction.md).
//
// One owner; any one thread, and meant for one beside the shard: decompressing takes time.
//
//   SegmentCompaction left(keys, bounds);
//   ASSIGN_OR_RETURN(std::vector<Entry> entries, left.Take(std::move(read)));   // piece by piece
//   if (auto gap = left.TakeGap()) entries.push_back(*gap);                     // once, at the end
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "broker/partition/compaction/key_map.h"
#include "broker/partition/compaction/void_filter.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::broker {

class SegmentCompaction {
 public:
  struct Bounds {
    TopicPartition home;
    // Tombstones below this that were appended before then go. What they cover, of offsets below
    // it, is gone before, as segments are taken oldest first.
    Offset tombstones_below;
    int64_t older_than_ms = 0;
  };
  // `keys` is not changed meanwhile.
  SegmentCompaction(std::shared_ptr<const KeyMap> keys, const Bounds& bounds)
      : keys_(std::move(keys)), bounds_(bounds) {}

  // What is left of these, which follow on those before; but for a gap that may go on behind them.
  // Nothing is of what is void. DATA_LOSS if one cannot be read.
  Result<std::vector<raft::core::Entry>> Take(std::vector<raft::core::Entry> entries,
                                              const VoidFilter& filter = VoidFilter({}));
  std::optional<raft::core::Entry> TakeGap();
  // Whether any record went of what was taken.
  bool has_changed() const { return has_changed_; }

 private:
  Status TakeBatch(raft::core::Entry entry, std::vector<raft::core::Entry>* left);
  void Leave(raft::core::Entry entry, std::vector<raft::core::Entry>* left);
  void LeaveNothing(const FrameHeader& header, std::vector<raft::core::Entry>* left);

  std::shared_ptr<const KeyMap> keys_;
  Bounds bounds_;
  std::optional<GapEnds> gap_;
  bool has_changed_ = false;
};

}  // namespace millrace::broker

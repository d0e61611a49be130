// What aborted transactions made void in a partition, as far as the newest markers say it. What is
// older is in segments (raft::LogStore::FindVoidRanges).
//
// A value of a Partition, on the shard's thread. Pure. 32 bytes a range; as many as segments do not
// have yet, and kVoidRangesKept.
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "proto/base/ids.h"
#include "proto/frame/frame.h"
#include "proto/frame/void_range.h"

namespace millrace::broker {

inline constexpr size_t kVoidRangesKept = 1'000;

class VoidRanges {
 public:
  // The state begins behind this record: nothing is known of markers before it.
  void Clear(Offset known_from);
  // A marker at `index` is applied. Of those whose markers are at or below `in_segments` more than
  // kVoidRangesKept are let go, oldest first.
  void Add(LogIndex index, const VoidRange& range, LogIndex in_segments);
  // Whether all that reach behind `offset` are here.
  bool KnowsAllBehind(Offset offset) const { return offset >= known_from_; }
  // Those that have a part of [first, end).
  std::vector<VoidRange> Overlapping(Offset first, Offset end) const;

 private:
  struct Marked {
    LogIndex index;
    VoidRange range;
  };
  std::deque<Marked> newest_;  // by index, and so by range.end
  Offset known_from_;
};

}  // namespace millrace::broker

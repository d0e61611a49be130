// What the markers of one segment make void, of this segment's records or of earlier ones'
// (proto/frame/void_range.h).
//
// A value of GroupSegments; one thread. Pure. 24 bytes a marker of an aborted transaction.
//
//   if (const auto range = VoidRangeOf(header)) index.Add(*range);
//   index.AddOverlapping(first, end, &ranges);
#pragma once

#include <cstdint>
#include <vector>

#include "millrace/internal/v1/segment.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/frame/void_range.h"

namespace millrace::storage {

class VoidIndex {
 public:
  // Pre: it does not end before the one before.
  void Add(const VoidRange& range);
  // Those that have a part of [first, end).
  void AddOverlapping(Offset first, Offset end, std::vector<VoidRange>* ranges) const;
  bool operator==(const VoidIndex&) const = default;

  void SaveTo(internal::v1::SegmentFooter* footer) const;
  // DATA_LOSS if that is no footer's.
  static Result<VoidIndex> LoadFrom(const internal::v1::SegmentFooter& footer);

 private:
  std::vector<VoidRange> ranges_;  // by end
  int64_t reach_max_ = 0;          // offsets of the longest one
};

}  // namespace millrace::storage

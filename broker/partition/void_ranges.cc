#include "broker/partition/void_ranges.h"

#include <algorithm>

namespace millrace::broker {
void VoidRanges::Clear(Offset known_from) {
  newest_.clear();
  known_from_ = known_from;
}

void VoidRanges::Add(LogIndex index, const VoidRange& range, LogIndex in_segments) {
  newest_.push_back({.index = index, .range = range});
  while (newest_.size() > kVoidRangesKept && newest_.front().index <= in_segments) {
    known_from_ = newest_.front().range.end;
    newest_.pop_front();
  }
}

std::vector<VoidRange> VoidRanges::Overlapping(Offset first, Offset end) const {
  std::vector<VoidRange> found;
  const auto begin =
      std::partition_point(newest_.begin(), newest_.end(),
                           [first](const Marked& one) { return one.range.end <= first; });
  for (auto at = begin; at != newest_.end(); ++at) {
    if (at->range.first < end) found.push_back(at->range);
  }
  return found;
}

}  // namespace millrace::broker

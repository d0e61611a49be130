#include "storage/segment/void_index.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::storage {

void VoidIndex::Add(const VoidRange& range) {
  CHECK(ranges_.empty() || range.end >= ranges_.back().end);
  ranges_.push_back(range);
  reach_max_ = std::max(reach_max_, range.end - range.first);
}

void VoidIndex::AddOverlapping(Offset first, Offset end, std::vector<VoidRange>* ranges) const {
  const auto begin = std::partition_point(
      ranges_.begin(), ranges_.end(), [first](const VoidRange& one) { return one.end <= first; });
  // Whatever ends so far behind began behind, too.
  for (auto at = begin; at != ranges_.end() && at->end - reach_max_ < end; ++at) {
    if (at->first < end) ranges->push_back(*at);
  }
}

void VoidIndex::SaveTo(internal::v1::SegmentFooter* footer) const {
  if (ranges_.empty()) return;
  internal::v1::SegmentVoidRanges& out = *footer->mutable_void_ranges();
  Offset before;
  for (const VoidRange& range : ranges_) {
    out.add_producer_ids(range.producer.value());
    out.add_end_steps(static_cast<uint64_t>(range.end - before));
    out.add_reaches(static_cast<uint64_t>(range.end - range.first));
    before = range.end;
  }
}

Result<VoidIndex> VoidIndex::LoadFrom(const internal::v1::SegmentFooter& footer) {
  const internal::v1::SegmentVoidRanges& in = footer.void_ranges();
  const Status wrong = DataLoss("the footer contradicts itself about what is void");
  if (in.end_steps_size() != in.producer_ids_size() ||
      in.reaches_size() != in.producer_ids_size()) {
    return wrong;
  }
  VoidIndex index;
  int64_t end = 0;
  for (int i = 0; i < in.producer_ids_size(); ++i) {
    if (__builtin_add_overflow(end, in.end_steps(i), &end)) return wrong;
    if (in.reaches(i) == 0 || in.reaches(i) > static_cast<uint64_t>(end)) return wrong;
    index.Add({.producer = ProducerId(in.producer_ids(i)),
               .first = Offset(end - static_cast<int64_t>(in.reaches(i))),
               .end = Offset(end)});
  }
  return index;
}

}  // namespace millrace::storage

#include "broker/partition/compaction/void_filter.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace millrace::broker {
namespace {

bool IsBefore(const VoidRange& a, const VoidRange& b) {
  return std::pair(a.producer, a.first) < std::pair(b.producer, b.first);
}

}  // namespace

VoidFilter::VoidFilter(std::vector<VoidRange> ranges) : ranges_(std::move(ranges)) {
  std::sort(ranges_.begin(), ranges_.end(), IsBefore);
}

bool VoidFilter::IsVoid(const FrameHeader& batch) const {
  if (batch.transaction_number == 0) return false;
  const VoidRange here{.producer = batch.producer_id, .first = batch.base_offset, .end = {}};
  const auto behind = std::upper_bound(ranges_.begin(), ranges_.end(), here, IsBefore);
  if (behind == ranges_.begin()) return false;
  const VoidRange& last = *std::prev(behind);
  return last.producer == batch.producer_id && batch.base_offset < last.end;
}

}  // namespace millrace::broker

// Which batches count for nothing, as their transactions were aborted
// (docs/adr/0018-transactions.md).
//
// A value; any thread.
//
//   const VoidFilter filter(std::move(ranges));
//   if (filter.IsVoid(entry.frame.header())) ...
#pragma once

#include <vector>

#include "proto/frame/frame.h"
#include "proto/frame/void_range.h"

namespace millrace::broker {

class VoidFilter {
 public:
  // All ranges that the batches to be asked for may lie in.
  explicit VoidFilter(std::vector<VoidRange> ranges);
  bool IsVoid(const FrameHeader& batch) const;

 private:
  std::vector<VoidRange>
      ranges_;  // by producer and first; of a producer none overlap, but for twins
};

}  // namespace millrace::broker

// What a transaction that was aborted leaves in a log: batches of its producer that count for
// nothing. The marker that ended it says where (docs/adr/0018-transactions.md).
//
// Values; pure.
#pragma once

#include <optional>

#include "proto/base/ids.h"
#include "proto/frame/frame.h"

namespace millrace {

// The producer's transactional batches from `first` on, before `end`.
struct VoidRange {
  ProducerId producer;
  Offset first;
  Offset end;

  bool Overlaps(Offset from, Offset to) const { return first < to && from < end; }
  bool operator==(const VoidRange&) const = default;
};

// What the entry makes void; none unless it is the marker of an aborted transaction, nor if it says
// that this began before the log.
inline std::optional<VoidRange> VoidRangeOf(const FrameHeader& header) {
  if (header.type != FrameType::kTransactionMarker || header.reach == 0) return std::nullopt;
  const bool is_in_log = header.base_offset > Offset(0) &&
                         header.reach <= static_cast<uint64_t>(header.base_offset.value());
  if (!is_in_log) return std::nullopt;
  return VoidRange{.producer = header.producer_id,
                   .first = header.base_offset - static_cast<int64_t>(header.reach),
                   .end = header.base_offset};
}

}  // namespace millrace

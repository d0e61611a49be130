#include "broker/service/fetch/position.h"

#include <glog/logging.h>

namespace millrace::broker {

std::optional<int64_t> TimestampOf(const v1::Position& position) {
  if (!position.has_timestamp_ms()) return std::nullopt;
  return position.timestamp_ms();
}

Isolation IsolationOf(v1::Isolation isolation) {
  return isolation == v1::ISOLATION_UNCOMMITTED ? Isolation::kUncommitted : Isolation::kCommitted;
}

Offset StartOf(const v1::Position& position, const PartitionOffsets& offsets, Isolation isolation) {
  switch (position.at_case()) {
    case v1::Position::kOffset:
      return Offset(position.offset());
    case v1::Position::kLatest:
      return offsets.end_of(isolation);
    case v1::Position::kTimestampMs:
      CHECK(offsets.timestamp_offset.has_value());
      return *offsets.timestamp_offset;
    case v1::Position::kEarliest:
    case v1::Position::AT_NOT_SET:
      break;
  }
  return offsets.log_start;
}

}  // namespace millrace::broker

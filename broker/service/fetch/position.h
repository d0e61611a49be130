// Where a reader begins: an offset, an end of the log, or a time.
//
// Pure; any thread.
//
//   partitions.Offsets(principal, group, TimestampOf(position), ...);
//   Offset next = StartOf(position, offsets);
#pragma once

#include <cstdint>
#include <optional>

#include "broker/partition/partition.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/ids.h"

namespace millrace::broker {

// The time that `position` asks for, if it does.
std::optional<int64_t> TimestampOf(const v1::Position& position);
// Where a reader of `position` begins, given what a partition told of TimestampOf(position).
Offset StartOf(const v1::Position& position, const PartitionOffsets& offsets, Isolation isolation);
// A value that is not known means committed.
Isolation IsolationOf(v1::Isolation isolation);

}  // namespace millrace::broker

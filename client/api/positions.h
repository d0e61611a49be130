// Where programs say that reading begins, as client/core takes it.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>

#include "client/core/consumer.h"
#include "millrace/consumer.h"
#include "proto/base/status.h"

namespace millrace::internal {

client::StartAt ToStart(const Position& position);
std::optional<client::StartAt> ToStart(OffsetReset reset);
v1::Isolation ToWire(Isolation isolation);
// The offset that it is without asking.
std::optional<int64_t> KnownOffset(const Position& position);
// INVALID_ARGUMENT.
Status CheckPosition(const Position& position);
Status CheckPrefetch(size_t prefetch_bytes);

// What one Poll gives at most, uncompressed, but for the batch that crosses it.
constexpr size_t kPollBytes = size_t{1} << 20;

}  // namespace millrace::internal

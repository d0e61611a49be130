// Points in a topic as people write them: earliest, latest, an offset, an RFC 3339 time, or @ and
// milliseconds since 1970.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(const Position start, ParsePosition("2026-11-21T08:00:00Z"));
#pragma once

#include <cstdint>
#include <string_view>

#include "millrace/consumer.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// "2026-11-21T08:00:00.250+01:00" in milliseconds since 1970 UTC; what is finer is cut off.
// INVALID_ARGUMENT naming the text.
Result<int64_t> ParseRfc3339(std::string_view text);

// An RFC 3339 time or @MILLISECONDS. INVALID_ARGUMENT naming the text, also for a number that looks
// like seconds.
Result<int64_t> ParseTime(std::string_view text);

// Any of them. INVALID_ARGUMENT naming the text.
Result<Position> ParsePosition(std::string_view text);

}  // namespace millrace::client::cli

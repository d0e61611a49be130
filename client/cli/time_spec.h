// Points in a topic as people write them: earliest, latest, an offset, or a time: RFC 3339, a date,
// how long ago, or @ and milliseconds since 1970.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(const Position start, ParsePosition("-1h", clock.WallMs()));
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/consumer.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// "2026-11-21T08:00:00.250+01:00" in milliseconds since 1970 UTC; what is finer is cut off.
// INVALID_ARGUMENT naming the text.
Result<int64_t> ParseRfc3339(std::string_view text);

// "2026-11-21T07:00:00.250Z" of that. Pre: from 1970 on, before the year 10000.
std::string FormatTime(int64_t time_ms);

// "41 s", "5 min", "3 h", "4 days": whole ones, from 120 of the smaller unit on, or 48 hours.
// Below zero is "0 s".
std::string AgeToText(std::chrono::milliseconds age);

// An RFC 3339 time; a date ("2026-11-28"), which begins at midnight UTC; a duration with its unit,
// so long before `now_ms` ("-1h", "2d"); or @MILLISECONDS. INVALID_ARGUMENT naming the text, also
// for a number that looks like seconds.
Result<int64_t> ParseTime(std::string_view text, int64_t now_ms);

// Any of them. INVALID_ARGUMENT naming the text.
Result<Position> ParsePosition(std::string_view text, int64_t now_ms);

}  // namespace millrace::client::cli

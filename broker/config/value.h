// The texts that a setting's value may be: numbers, sizes, durations, shares, switches. One reading
// for flags, environment variables and topic settings alike.
//
// Pure; any thread. Errors say what was wrong with the text; the caller adds the setting's name.
//
//   Result<uint64_t> bytes = ParseNumber(Kind::kBytes, "64MiB", range);
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "proto/base/status.h"

namespace millrace::broker::config {

// What a setting holds.
enum class Kind {
  kText,          // as it stands
  kSwitch,        // true or false
  kCount,         // a whole number
  kBytes,         // a whole number with B, KiB, MiB or GiB behind it; bytes without
  kMilliseconds,  // a whole number with ms, s, m, h or d behind it; milliseconds without
  kShare,         // a number from 0 to 1 with at most six digits behind the point; in millionths
  kChoice,        // one of a few words
};

// "count", "bytes" and so on, as docs/settings.md calls it.
std::string_view KindName(Kind kind);

// Inclusive.
struct Range {
  uint64_t min = 0;
  uint64_t max = UINT64_MAX;
};

// Kinds whose values are numbers, with a range; of the others they are texts.
constexpr bool IsNumber(Kind kind) {
  return kind != Kind::kText && kind != Kind::kSwitch && kind != Kind::kChoice;
}

// What a share of 1 is.
inline constexpr uint64_t kWholeShare = 1'000'000;

// INVALID_ARGUMENT naming the text, if it is no such number or is out of range. Pre, of this and of
// FormatNumber: IsNumber(kind).
Result<uint64_t> ParseNumber(Kind kind, std::string_view text, Range range);
// "true", "false", "1", "0", "yes", "no".
Result<bool> ParseSwitch(std::string_view text);

// In quotes, for an error; what is long is cut.
std::string Quoted(std::string_view text);

// As a person writes it: 64MiB, 300ms, 7d, 12, 0.5.
std::string FormatNumber(Kind kind, uint64_t value);

}  // namespace millrace::broker::config

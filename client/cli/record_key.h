// How `millrace produce` finds a record's key in a line.
//
// Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/base/status.h"

namespace millrace::client::cli {

struct LineRecord {
  std::optional<std::string> key;
  std::string_view value;
};

struct KeyRule {
  // Key before it, value after it; empty: not used.
  std::string separator;
  // Field of a JSON line whose value is the key, the line stays the value; empty: not used.
  std::string field;
};

// INVALID_ARGUMENT if the line has no such key. A JSON string is taken as it is; a number or
// boolean as JSON writes it; null is no key.
Result<LineRecord> ParseLine(std::string_view line, const KeyRule& rule);

}  // namespace millrace::client::cli

// How `millrace produce` makes a record of a line: where its key is, and what stands for null.
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
  std::optional<std::string_view> value;
};

struct LineRule {
  // Key before it, value after it; empty: not used.
  std::string key_separator;
  // Field of a JSON line whose value is the key, the line stays the value; empty: not used.
  std::string key_field;
  // A key or a value that is this text is null.
  std::optional<std::string> null_text;
  // A value that is empty is null.
  bool empty_is_null = false;
};

// INVALID_ARGUMENT if the line has no such key. A JSON string is taken as it is, a number as the
// line has it, a boolean as JSON writes it; null is no key.
Result<LineRecord> ParseLine(std::string_view line, const LineRule& rule);

}  // namespace millrace::client::cli

// Numbers and durations as options take them: the whole text, within a range, or refused by name.
// Every numeric option of every command is read here, so that an empty variable, "-1" or 2^64 is
// an error of the command line and never quietly another number.
//
// Pure, but for the options that are added; on main's thread.
//
//   AddNumber(command, "--count", &options->count, {.min = 1}, "Stop after so many records");
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include <CLI/CLI.hpp>

#include "proto/base/status.h"

namespace millrace::client::cli {

// The largest number of a partition that a topic may have.
inline constexpr uint64_t kPartitionMax = 9999;

struct NumberRange {
  uint64_t min = 0;
  uint64_t max = std::numeric_limits<uint64_t>::max();
};

// Decimal digits and nothing else. INVALID_ARGUMENT naming the text and the range.
Result<uint64_t> ParseNumber(std::string_view text, const NumberRange& range);

// Digits, perhaps with a fraction; no sign, no exponent. INVALID_ARGUMENT naming the text.
Result<double> ParseDecimal(std::string_view text);

// "500ms", "5s", "1.5s", "2m", "1h", "7d"; without a unit it is seconds. A millisecond to a year.
// INVALID_ARGUMENT naming the text.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

// Adds an option whose text goes to `set`; what that refuses is an error of the command line.
CLI::Option* AddParsed(CLI::App* command, const std::string& name,
                       const std::function<Status(std::string_view text)>& set,
                       const std::string& help);

// `target` is an integer, or an optional one. Pre: range.max fits into it.
template <typename T>
CLI::Option* AddNumber(CLI::App* command, const std::string& name, T* target,
                       const NumberRange& range, const std::string& help) {
  const auto set = [range, target](std::string_view text) -> Status {
    ASSIGN_OR_RETURN(const uint64_t number, ParseNumber(text, range));
    if constexpr (std::is_integral_v<T>) {
      *target = static_cast<T>(number);
    } else {
      *target = static_cast<typename T::value_type>(number);
    }
    return {};
  };
  return AddParsed(command, name, set, help)->type_name("NUMBER");
}

}  // namespace millrace::client::cli

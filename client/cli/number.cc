#include "client/cli/number.h"

#include <charconv>
#include <cmath>
#include <utility>

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDurationMax = std::chrono::hours(365 * 24);

// Longer units first where one ends like another.
constexpr std::pair<std::string_view, double> kUnits[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {"d", 24 * 60 * 60 * 1000}};

std::string Quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

Status NotADuration(std::string_view text) {
  return InvalidArgument(Quoted(text) + " is no duration of 1ms to 365 days, like 5s or 500ms");
}

}  // namespace

Result<uint64_t> ParseNumber(std::string_view text, const NumberRange& range) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  // It takes neither a sign nor blanks.
  const auto [parsed_to, error] = std::from_chars(text.data(), end, number);
  const bool is_number = error == std::errc() && parsed_to == end && !text.empty();
  if (is_number && number >= range.min && number <= range.max) return number;
  const bool is_open = range.max == std::numeric_limits<uint64_t>::max();
  return InvalidArgument(Quoted(text) + " is no number of " + std::to_string(range.min) +
                         (is_open ? " and up" : " to " + std::to_string(range.max)));
}

Result<double> ParseDecimal(std::string_view text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [parsed_to, error] =
      std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const bool has_digit_first = !text.empty() && text.front() >= '0' && text.front() <= '9';
  if (error == std::errc() && parsed_to == end && has_digit_first) return number;
  return InvalidArgument(Quoted(text) + " is no number of 0 and up");
}

Result<milliseconds> ParseDuration(std::string_view text) {
  double unit = 1000;
  std::string_view number = text;
  for (const auto& [name, unit_ms] : kUnits) {
    if (!text.ends_with(name)) continue;
    unit = unit_ms;
    number.remove_suffix(name.size());
    break;
  }
  const Result<double> count = ParseDecimal(number);
  if (!count.ok()) return NotADuration(text);
  const double ms = std::ceil(*count * unit);
  if (ms < 1 || ms > static_cast<double>(kDurationMax.count())) return NotADuration(text);
  return milliseconds(static_cast<int64_t>(ms));
}

CLI::Option* AddParsed(CLI::App* command, const std::string& name,
                       const std::function<Status(std::string_view text)>& set,
                       const std::string& help) {
  return command->add_option(
      name,
      [name, set](const CLI::results_t& texts) {
        const Status status = set(texts.back());
        if (!status.ok()) throw CLI::ValidationError(name, std::string(status.message()));
        return true;
      },
      help);
}

}  // namespace millrace::client::cli

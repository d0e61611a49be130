#include "client/cli/time_spec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

#include "client/cli/number.h"

namespace millrace::client::cli {
namespace {

// A number between these is a second between 1973 and 5138, or a millisecond between 1970 and 1973:
// far more likely the former.
constexpr int64_t kSecondsMin = 100'000'000;
constexpr int64_t kSecondsMax = 100'000'000'000;
// Characters of a date, YYYY-MM-DD.
constexpr size_t kDateSize = 10;

Status NotATime(std::string_view text) {
  return InvalidArgument(
      std::string(text) +
      " is no RFC 3339 time (2026-11-21T08:00:00Z), no date (2026-11-21), not so "
      "long ago (-1h), and no @MILLISECONDS");
}

bool IsLetter(char c) { return c >= 'a' && c <= 'z'; }

// The whole text as a number of at least 0.
std::optional<int64_t> ParseNumber(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

// Digits, perhaps behind a minus, and then a unit of one or two letters.
bool IsAge(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  const size_t digits = text.find_first_not_of("0123456789.");
  if (digits == 0 || digits == std::string_view::npos) return false;
  const std::string_view unit = text.substr(digits);
  return unit.size() <= 2 && std::all_of(unit.begin(), unit.end(), IsLetter);
}

Result<int64_t> ParseAge(std::string_view text, int64_t now_ms) {
  ASSIGN_OR_RETURN(const std::chrono::milliseconds age,
                   ParseDuration(text.substr(text.starts_with('-') ? 1 : 0)));
  return std::max<int64_t>(0, now_ms - age.count());
}

// Takes a text apart from its front; once something is not as expected, all that follows fails.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  // So many digits.
  int Digits(size_t count) {
    if (rest_.size() < count) return Fail();
    int number = 0;
    for (size_t i = 0; i < count; ++i) {
      if (rest_[i] < '0' || rest_[i] > '9') return Fail();
      number = number * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(count);
    return number;
  }
  // One of these characters.
  char OneOf(std::string_view characters) {
    if (rest_.empty() || characters.find(rest_.front()) == std::string_view::npos) {
      Fail();
      return '\0';
    }
    const char taken = rest_.front();
    rest_.remove_prefix(1);
    return taken;
  }
  bool NextIs(char character) const { return !rest_.empty() && rest_.front() == character; }
  // Any number of digits, at least one, as thousandths.
  int Fraction() {
    int milliseconds = 0;
    int weight = 100;
    const size_t before = rest_.size();
    while (!rest_.empty() && rest_.front() >= '0' && rest_.front() <= '9') {
      milliseconds += weight * (rest_.front() - '0');
      weight /= 10;
      rest_.remove_prefix(1);
    }
    return rest_.size() == before ? Fail() : milliseconds;
  }
  bool is_ok() const { return is_ok_; }
  bool is_at_end() const { return rest_.empty(); }

 private:
  int Fail() {
    is_ok_ = false;
    rest_ = {};
    return 0;
  }
  std::string_view rest_;
  bool is_ok_ = true;
};

}  // namespace

Result<int64_t> ParseRfc3339(std::string_view text) {
  using namespace std::chrono;
  Scanner in(text);
  const int y = in.Digits(4);
  in.OneOf("-");
  const int m = in.Digits(2);
  in.OneOf("-");
  const int d = in.Digits(2);
  in.OneOf("Tt ");
  const int hour = in.Digits(2);
  in.OneOf(":");
  const int minute = in.Digits(2);
  in.OneOf(":");
  const int second = in.Digits(2);  // 60 is a leap second, the same as the next minute's 0
  int fraction_ms = 0;
  if (in.NextIs('.')) {
    in.OneOf(".");
    fraction_ms = in.Fraction();
  }
  const char zone = in.OneOf("Zz+-");
  minutes east{0};
  if (zone == '+' || zone == '-') {
    east = hours(in.Digits(2));
    in.OneOf(":");
    const int east_minutes = in.Digits(2);
    if (east > 23h || east_minutes > 59) return NotATime(text);
    east += minutes(east_minutes);
    if (zone == '-') east = -east;
  }
  const year_month_day date{year(y), month(static_cast<unsigned>(m)),
                            day(static_cast<unsigned>(d))};
  const bool is_right =
      in.is_ok() && in.is_at_end() && date.ok() && hour <= 23 && minute <= 59 && second <= 60;
  if (!is_right) return NotATime(text);
  const milliseconds since = sys_days(date).time_since_epoch() + hours(hour) + minutes(minute) +
                             seconds(second) + milliseconds(fraction_ms) - east;
  if (since.count() < 0) return InvalidArgument(std::string(text) + " is before 1970");
  return since.count();
}

std::string FormatTime(int64_t time_ms) {
  using namespace std::chrono;
  const milliseconds since(time_ms);
  const sys_days day = floor<days>(sys_time<milliseconds>(since));
  const year_month_day date(day);
  const hh_mm_ss<milliseconds> time(since - day.time_since_epoch());
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ",
                static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
                static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
                static_cast<int>(time.subseconds().count()));
  return text.data();
}

std::string AgeToText(std::chrono::milliseconds age) {
  const int64_t seconds = (std::max<int64_t>(0, age.count()) + 500) / 1000;
  if (seconds < 120) return std::to_string(seconds) + " s";
  if (seconds < 120 * 60) return std::to_string(seconds / 60) + " min";
  if (seconds < 48 * 3600) return std::to_string(seconds / 3600) + " h";
  return std::to_string(seconds / 86400) + " days";
}

Result<int64_t> ParseTime(std::string_view text, int64_t now_ms) {
  if (IsAge(text)) return ParseAge(text, now_ms);
  if (text.size() == kDateSize) {
    const Result<int64_t> midnight = ParseRfc3339(std::string(text) + "T00:00:00Z");
    return midnight.ok() ? midnight : NotATime(text);
  }
  if (!text.starts_with('@')) return ParseRfc3339(text);
  const std::optional<int64_t> milliseconds = ParseNumber(text.substr(1));
  if (!milliseconds) return NotATime(text);
  if (*milliseconds >= kSecondsMin && *milliseconds < kSecondsMax) {
    return InvalidArgument(std::string(text) + " looks like seconds, and @ takes milliseconds: " +
                           std::string(text) + "000; a time in 1970 can be written as RFC 3339");
  }
  return *milliseconds;
}

Result<Position> ParsePosition(std::string_view text, int64_t now_ms) {
  if (text == "earliest") return Position::Earliest();
  if (text == "latest") return Position::Latest();
  if (const std::optional<int64_t> offset = ParseNumber(text)) return Position::At(*offset);
  const Result<int64_t> time = ParseTime(text, now_ms);
  if (time.ok()) return Position::Time(*time);
  if (text.starts_with('@') || IsAge(text)) return time.status();
  return InvalidArgument(
      std::string(text) +
      " is not earliest, latest, an offset, an RFC 3339 time, a date, so long ago "
      "(-1h) or @MILLISECONDS");
}

}  // namespace millrace::client::cli

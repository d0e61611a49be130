#include "broker/config/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace millrace::broker::config {
namespace {

struct Unit {
  std::string_view suffix;
  uint64_t factor;
};

// Largest first, so that formatting finds the shortest text.
constexpr std::array kByteUnits{Unit{"GiB", 1ull << 30}, Unit{"MiB", 1ull << 20},
                                Unit{"KiB", 1ull << 10}, Unit{"B", 1}};
constexpr std::array kTimeUnits{Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000},
                                Unit{"s", 1000}, Unit{"ms", 1}};

// Of a share, behind the point: a millionth is the least.
constexpr size_t kShareDigits = 6;

// The factor of a unit by its suffix; 1 for no suffix, 0 for one that there is not.
uint64_t FactorOf(Kind kind, std::string_view suffix) {
  if (suffix.empty()) return 1;
  if (kind == Kind::kBytes) {
    for (const Unit& unit : kByteUnits) {
      if (unit.suffix == suffix) return unit.factor;
    }
  }
  if (kind == Kind::kMilliseconds) {
    for (const Unit& unit : kTimeUnits) {
      if (unit.suffix == suffix) return unit.factor;
    }
  }
  return 0;
}

std::string_view Expectation(Kind kind) {
  switch (kind) {
    case Kind::kText:
      return "a text";
    case Kind::kSwitch:
      return "true or false";
    case Kind::kCount:
      return "a whole number";
    case Kind::kBytes:
      return "a size such as 65536, 64KiB, 8MiB or 1GiB";
    case Kind::kMilliseconds:
      return "a time such as 300ms, 5s or 7d";
    case Kind::kShare:
      return "a share such as 0, 0.25 or 1";
    case Kind::kChoice:
      return "one of the words that it may be";
  }
  return "a text";
}

// The number in front, with its unit; none if it is too large, or if this is no such number.
struct Parsed {
  uint64_t number = 0;
  uint64_t factor = 0;
};

std::optional<Parsed> ParseWithUnit(Kind kind, std::string_view text) {
  Parsed parsed;
  const char* end = text.data() + text.size();
  const auto [parsed_to, error] = std::from_chars(text.data(), end, parsed.number);
  const auto suffix = std::string_view(parsed_to, static_cast<size_t>(end - parsed_to));
  parsed.factor = FactorOf(kind, suffix);
  if (error != std::errc() || parsed.factor == 0) return std::nullopt;
  return parsed;
}

// In millionths, which the digits behind the point are once they are six.
std::optional<Parsed> ParseShare(std::string_view text) {
  const size_t point = std::min(text.find('.'), text.size());
  std::string digits(text.substr(std::min(point + 1, text.size())));
  const bool has_point = point < text.size();
  if (digits.size() > kShareDigits || digits.empty() == has_point) return std::nullopt;
  digits.resize(kShareDigits, '0');
  const std::optional<Parsed> whole = ParseWithUnit(Kind::kCount, text.substr(0, point));
  const std::optional<Parsed> millionths = ParseWithUnit(Kind::kCount, digits);
  if (!whole || !millionths || whole->number > 1) return std::nullopt;
  return Parsed{.number = whole->number * kWholeShare + millionths->number, .factor = 1};
}

std::string FormatShare(uint64_t millionths) {
  std::string digits = std::to_string(kWholeShare + millionths % kWholeShare).substr(1);
  digits.erase(digits.find_last_not_of('0') + 1);
  const std::string whole = std::to_string(millionths / kWholeShare);
  return digits.empty() ? whole : whole + "." + digits;
}

}  // namespace

std::string Quoted(std::string_view text) {
  constexpr size_t kShownMax = 100;
  const bool is_long = text.size() > kShownMax;
  return "\"" + std::string(text.substr(0, kShownMax)) + (is_long ? "...\"" : "\"");
}

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kText:
      return "text";
    case Kind::kSwitch:
      return "switch";
    case Kind::kCount:
      return "number";
    case Kind::kBytes:
      return "size";
    case Kind::kMilliseconds:
      return "time";
    case Kind::kShare:
      return "share";
    case Kind::kChoice:
      return "choice";
  }
  return "text";
}

Result<uint64_t> ParseNumber(Kind kind, std::string_view text, Range range) {
  CHECK(IsNumber(kind));
  const std::optional<Parsed> parsed =
      kind == Kind::kShare ? ParseShare(text) : ParseWithUnit(kind, text);
  if (!parsed) return InvalidArgument(Quoted(text) + " is not " + std::string(Expectation(kind)));
  const auto [number, factor] = *parsed;
  const bool is_overflow = number > std::numeric_limits<uint64_t>::max() / factor;
  if (is_overflow || number * factor < range.min || number * factor > range.max) {
    return InvalidArgument(Quoted(text) + " is not between " + FormatNumber(kind, range.min) +
                           " and " + FormatNumber(kind, range.max));
  }
  return number * factor;
}

Result<bool> ParseSwitch(std::string_view text) {
  if (text == "true" || text == "1" || text == "yes") return true;
  if (text == "false" || text == "0" || text == "no") return false;
  return InvalidArgument(Quoted(text) + " is not " + std::string(Expectation(Kind::kSwitch)));
}

std::string FormatNumber(Kind kind, uint64_t value) {
  if (kind == Kind::kShare) return FormatShare(value);
  if (kind == Kind::kBytes) {
    for (const Unit& unit : kByteUnits) {
      if (value >= unit.factor && value % unit.factor == 0) {
        return std::to_string(value / unit.factor) + std::string(unit.suffix);
      }
    }
  }
  if (kind == Kind::kMilliseconds) {
    for (const Unit& unit : kTimeUnits) {
      if (value >= unit.factor && value % unit.factor == 0) {
        return std::to_string(value / unit.factor) + std::string(unit.suffix);
      }
    }
  }
  return std::to_string(value);
}

}  // namespace millrace::broker::config

#include "tests/checker/history_json.h"

#include <array>
#include <cstddef>
#include <utility>

#include <nlohmann/json.hpp>

namespace millrace::checker {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 4> kTypes = {"invoke", "ok", "fail", "info"};
constexpr std::array<std::string_view, 5> kKinds = {"send", "poll", "assign", "delete", "offsets"};

Status Malformed(const std::string& what) { return InvalidArgument("not an op: " + what); }

template <typename Enum, size_t kCount>
Status ParseName(const json& op, const char* field,
                 const std::array<std::string_view, kCount>& names, Enum* out) {
  const auto at = op.find(field);
  if (at != op.end() && at->is_string()) {
    const std::string& name = at->get_ref<const std::string&>();
    for (size_t i = 0; i < kCount; ++i) {
      if (names[i] != name) continue;
      *out = static_cast<Enum>(i);
      return {};
    }
  }
  return Malformed(std::string("\"") + field + "\" is missing or unknown");
}

template <typename Number>
Status ParseNumber(const json& op, const char* field, Number* out) {
  const auto at = op.find(field);
  if (at == op.end() || !at->is_number_integer()) {
    return Malformed(std::string("\"") + field + "\" is no whole number");
  }
  *out = at->get<Number>();
  return {};
}

// The list in `field`, empty if there is none, each item made by `make` from `size_min` to
// `size_max` numbers (the last of which may be null).
template <typename Item, typename Make>
Status ParseTuples(const json& op, const char* field, size_t size_min, size_t size_max,
                   std::vector<Item>* out, Make make) {
  const auto list = op.find(field);
  if (list == op.end()) return {};
  if (!list->is_array()) return Malformed(std::string("\"") + field + "\" is no list");
  for (const json& tuple : *list) {
    bool is_good = tuple.is_array() && tuple.size() >= size_min && tuple.size() <= size_max;
    for (size_t i = 0; is_good && i < tuple.size(); ++i) {
      const bool may_be_null = i == 2;
      is_good = tuple[i].is_number_integer() || (may_be_null && tuple[i].is_null());
    }
    if (!is_good) return Malformed(std::string("an item of \"") + field + "\"");
    out->push_back(make(tuple));
  }
  return {};
}

Key KeyOf(const json& tuple) { return Key(tuple[0].get<uint32_t>()); }

Send SendOf(const json& tuple) {
  Send send{.key = KeyOf(tuple), .value = tuple[1].get<Value>(), .offset = {}};
  if (tuple.size() == 3 && !tuple[2].is_null()) send.offset = Offset(tuple[2].get<int64_t>());
  return send;
}

Read ReadOf(const json& tuple) {
  Read read{.key = KeyOf(tuple), .offset = Offset(tuple[1].get<int64_t>()), .value = {}};
  if (!tuple[2].is_null()) read.value = tuple[2].get<Value>();
  return read;
}

HighWatermark HighWatermarkOf(const json& tuple) {
  return {.key = KeyOf(tuple), .offset = Offset(tuple[1].get<int64_t>())};
}

Deletion DeletionOf(const json& tuple) {
  return {.key = KeyOf(tuple), .before = Offset(tuple[1].get<int64_t>())};
}

LogStart LogStartOf(const json& tuple) {
  return {.key = KeyOf(tuple), .offset = Offset(tuple[1].get<int64_t>())};
}

Status ParseKeys(const json& op, std::vector<Key>* keys) {
  const auto list = op.find("keys");
  if (list == op.end()) return {};
  if (!list->is_array()) return Malformed("\"keys\" is no list");
  for (const json& key : *list) {
    if (!key.is_number_unsigned()) return Malformed("an item of \"keys\"");
    keys->push_back(Key(key.get<uint32_t>()));
  }
  return {};
}

}  // namespace

std::string ToJsonLine(const Op& op) {
  using Line = nlohmann::ordered_json;
  Line line;
  line["time"] = op.time_ns;
  line["process"] = op.process;
  line["type"] = kTypes[static_cast<size_t>(op.type)];
  line["f"] = kKinds[static_cast<size_t>(op.kind)];
  for (const Send& send : op.sends) {
    Line tuple = Line::array({send.key.value(), send.value});
    if (send.offset.has_value()) tuple.push_back(send.offset->value());
    line["sends"].push_back(std::move(tuple));
  }
  for (const Read& read : op.reads) {
    const Line value = read.value.has_value() ? Line(*read.value) : Line();
    line["reads"].push_back(Line::array({read.key.value(), read.offset.value(), value}));
  }
  for (const HighWatermark& seen : op.high_watermarks) {
    line["high_watermarks"].push_back(Line::array({seen.key.value(), seen.offset.value()}));
  }
  for (const Key key : op.keys) line["keys"].push_back(key.value());
  for (const Deletion& deletion : op.deletes) {
    line["deletes"].push_back(Line::array({deletion.key.value(), deletion.before.value()}));
  }
  for (const LogStart& start : op.log_starts) {
    line["log_starts"].push_back(Line::array({start.key.value(), start.offset.value()}));
  }
  return line.dump();
}

Result<Op> ParseJsonLine(std::string_view line) {
  const json parsed = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return Malformed("no JSON object");
  Op op;
  RETURN_IF_ERROR(ParseName(parsed, "type", kTypes, &op.type));
  RETURN_IF_ERROR(ParseName(parsed, "f", kKinds, &op.kind));
  RETURN_IF_ERROR(ParseNumber(parsed, "process", &op.process));
  RETURN_IF_ERROR(ParseNumber(parsed, "time", &op.time_ns));
  RETURN_IF_ERROR(ParseTuples(parsed, "sends", 2, 3, &op.sends, SendOf));
  RETURN_IF_ERROR(ParseTuples(parsed, "reads", 3, 3, &op.reads, ReadOf));
  RETURN_IF_ERROR(
      ParseTuples(parsed, "high_watermarks", 2, 2, &op.high_watermarks, HighWatermarkOf));
  RETURN_IF_ERROR(ParseKeys(parsed, &op.keys));
  RETURN_IF_ERROR(ParseTuples(parsed, "deletes", 2, 2, &op.deletes, DeletionOf));
  RETURN_IF_ERROR(ParseTuples(parsed, "log_starts", 2, 2, &op.log_starts, LogStartOf));
  return op;
}

Result<History> ReadHistory(std::istream& in) {
  History history;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    Result<Op> op = ParseJsonLine(line);
    if (!op.ok()) return op.status().With("line " + std::to_string(number));
    history.push_back(std::move(*op));
  }
  return history;
}

}  // namespace millrace::checker

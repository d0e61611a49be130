#include "client/cli/record_key.h"

#include <nlohmann/json.hpp>

namespace millrace::client::cli {
namespace {

Result<LineRecord> ParseJsonLine(std::string_view line, const std::string& field) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (json.is_discarded() || !json.is_object()) {
    return InvalidArgument("--key-field " + field + ": the line is no JSON object");
  }
  const auto found = json.find(field);
  if (found == json.end()) {
    return InvalidArgument("--key-field " + field + ": the object has no such field");
  }
  if (found->is_null()) return LineRecord{.key = std::nullopt, .value = line};
  if (found->is_string()) return LineRecord{.key = found->get<std::string>(), .value = line};
  if (found->is_structured()) {
    return InvalidArgument("--key-field " + field + ": the field is no string or number");
  }
  return LineRecord{.key = found->dump(), .value = line};
}

}  // namespace

Result<LineRecord> ParseLine(std::string_view line, const KeyRule& rule) {
  if (!rule.field.empty()) return ParseJsonLine(line, rule.field);
  if (rule.separator.empty()) return LineRecord{.key = std::nullopt, .value = line};
  const size_t at = line.find(rule.separator);
  if (at == std::string_view::npos) {
    return InvalidArgument("--key-separator: the line has no \"" + rule.separator + "\"");
  }
  return LineRecord{.key = std::string(line.substr(0, at)),
                    .value = line.substr(at + rule.separator.size())};
}

}  // namespace millrace::client::cli

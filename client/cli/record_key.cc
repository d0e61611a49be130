#include "client/cli/record_key.h"

#include <string>

#include <nlohmann/json.hpp>

namespace millrace::client::cli {
namespace {

// Finds one field of a JSON object while it is parsed, numbers as they are written: a double would
// give different large numbers the same key.
class FieldFinder final : public nlohmann::json::json_sax_t {
 public:
  enum Kind { kAbsent, kNull, kScalar, kStructure };

  explicit FieldFinder(const std::string& field) : field_(field) {}

  bool is_object() const { return is_object_; }
  Kind kind() const { return kind_; }
  const std::string& text() const { return text_; }

  bool null() override { return Found(kNull, ""); }
  bool boolean(bool value) override { return Found(kScalar, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return Found(kScalar, std::to_string(value));
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Found(kScalar, std::to_string(value));
  }
  // Also for integers that 64 bits do not hold.
  bool number_float(number_float_t, const string_t& text) override { return Found(kScalar, text); }
  bool string(string_t& value) override { return Found(kScalar, value); }
  bool binary(binary_t&) override { return false; }  // JSON text has none
  bool start_object(size_t) override { return Enter(); }
  bool start_array(size_t) override {
    if (depth_ == 0) return false;
    return Enter();
  }
  bool key(string_t& name) override {
    is_wanted_ = depth_ == 1 && name == field_;
    return true;
  }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;
  }

 private:
  bool Enter() {
    is_object_ = true;
    Found(kStructure, "");
    ++depth_;
    return true;
  }
  bool Leave() {
    --depth_;
    return true;
  }
  // Where a field is there twice, the last one counts.
  bool Found(Kind kind, const std::string& text) {
    if (depth_ != 1 || !is_wanted_) return depth_ > 0 || kind == kStructure;
    kind_ = kind;
    text_ = text;
    is_wanted_ = false;
    return true;
  }

  const std::string& field_;
  bool is_object_ = false;
  bool is_wanted_ = false;  // the value that follows
  int depth_ = 0;
  Kind kind_ = kAbsent;
  std::string text_;
};

Result<LineRecord> ParseJsonLine(std::string_view line, const std::string& field) {
  const std::string option = "--key-field " + field;
  FieldFinder finder(field);
  if (!nlohmann::json::sax_parse(line, &finder) || !finder.is_object()) {
    return InvalidArgument(option + ": the line is no JSON object");
  }
  switch (finder.kind()) {
    case FieldFinder::kAbsent:
      return InvalidArgument(option + ": the object has no such field");
    case FieldFinder::kStructure:
      return InvalidArgument(option + ": the field is no string or number");
    case FieldFinder::kNull:
      return LineRecord{.key = std::nullopt, .value = line};
    case FieldFinder::kScalar:
      break;
  }
  return LineRecord{.key = finder.text(), .value = line};
}

}  // namespace

Result<LineRecord> ParseLine(std::string_view line, const LineRule& rule) {
  LineRecord record{.key = std::nullopt, .value = line};
  if (!rule.key_field.empty()) {
    ASSIGN_OR_RETURN(record, ParseJsonLine(line, rule.key_field));
  } else if (!rule.key_separator.empty()) {
    const size_t at = line.find(rule.key_separator);
    if (at == std::string_view::npos) {
      return InvalidArgument("--key-separator: the line has no \"" + rule.key_separator + "\"");
    }
    record.key = std::string(line.substr(0, at));
    record.value = line.substr(at + rule.key_separator.size());
  }
  if (rule.null_text && record.key == *rule.null_text) record.key.reset();
  if (rule.null_text && record.value == *rule.null_text) record.value.reset();
  if (rule.empty_is_null && record.value == "") record.value.reset();
  return record;
}

}  // namespace millrace::client::cli

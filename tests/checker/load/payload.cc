#include "tests/checker/load/payload.h"

#include <charconv>

#include "proto/base/checksum.h"

namespace millrace::checker {
namespace {

// "KEY VALUE PADDING CHECKSUM", the checksum over everything before its blank.
template <typename Number>
std::optional<Number> ParseNumber(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string EncodePayload(Key key, Value value, size_t padding_bytes) {
  std::string text = std::to_string(key.value()) + " " + std::to_string(value) + " ";
  // Bytes that compress, but not to nothing, and differ from record to record.
  for (size_t i = 0; i < padding_bytes; ++i) {
    text += static_cast<char>('a' + (value * 31 + i * (1 + value % 7)) % 26);
  }
  return text + " " + std::to_string(Crc32c(text));
}

std::optional<Value> DecodePayload(std::string_view text) {
  const size_t checksum_at = text.rfind(' ');
  if (checksum_at == std::string_view::npos) return std::nullopt;
  const std::string_view body = text.substr(0, checksum_at);
  const std::optional<uint32_t> checksum = ParseNumber<uint32_t>(text.substr(checksum_at + 1));
  if (checksum != Crc32c(body)) return std::nullopt;
  const size_t value_at = body.find(' ');
  if (value_at == std::string_view::npos) return std::nullopt;
  const size_t value_end = body.find(' ', value_at + 1);
  if (value_end == std::string_view::npos) return std::nullopt;
  return ParseNumber<Value>(body.substr(value_at + 1, value_end - value_at - 1));
}

}  // namespace millrace::checker

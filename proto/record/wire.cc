#include "proto/record/wire.h"

namespace millrace {
namespace {

bool IsContinuation(char byte) { return (static_cast<uint8_t>(byte) & 0xC0) == 0x80; }

// Bytes of the multi-byte character at the start of `text`; 0 if it is malformed.
size_t Utf8CharacterSize(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t size = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < size) return 0;
  for (size_t i = 1; i < size; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  const auto second = static_cast<uint8_t>(text[1]);
  if (first == 0xE0 && second < 0xA0) return 0;  // overlong
  if (first == 0xED && second > 0x9F) return 0;  // surrogates
  if (first == 0xF0 && second < 0x90) return 0;  // overlong
  if (first == 0xF4 && second > 0x8F) return 0;  // over U+10FFFF
  return size;
}

}  // namespace

bool WireReader::SkipField(uint8_t first) {
  for (uint8_t byte = first; byte >= 0x80; byte = static_cast<uint8_t>(*at_++)) {
    if (at_ == end_) return false;
  }
  uint64_t number = 0;
  std::string_view content;
  const auto skip = [this](size_t size) {
    if (static_cast<size_t>(end_ - at_) < size) return false;
    at_ += size;
    return true;
  };
  switch (static_cast<WireType>(first & 7)) {
    case WireType::kVarint:
      return ReadVarint(&number);
    case WireType::kFixed64:
      return skip(8);
    case WireType::kLengthDelimited:
      return ReadDelimited(&content);
    case WireType::kFixed32:
      return skip(4);
  }
  return false;
}

bool WireReader::ReadLongVarint(uint64_t* value) {
  uint64_t sum = 0;
  for (unsigned shift = 0; shift < 70 && at_ != end_; shift += 7) {
    const auto byte = static_cast<uint8_t>(*at_++);
    if (shift == 63 && byte > 1) return false;
    sum |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) {
      *value = sum;
      return true;
    }
  }
  return false;
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    if (static_cast<uint8_t>(text[0]) < 0x80) {
      text.remove_prefix(1);
      continue;
    }
    const size_t size = Utf8CharacterSize(text);
    if (size == 0) return false;
    text.remove_prefix(size);
  }
  return true;
}

}  // namespace millrace

// The protobuf wire format, read and written by hand: what the record batch needs of it, strictly.
// Where libprotobuf is lenient (a value too large for its field, a tag written in more bytes than
// it needs), this refuses, so that whatever passes here means the same to every library.
//
// Values; any thread. Views point into the bytes that were given.
//
//   WireReader in(bytes);
//   uint8_t tag = 0;
//   while (!in.AtEnd()) { if (!in.ReadTag(&tag)) return ...; }
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace millrace {

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

// Tags of fields 1 to 15, all that a record batch has, take one byte.
constexpr uint8_t WireTag(unsigned field, WireType type) {
  return static_cast<uint8_t>(field << 3 | static_cast<unsigned>(type));
}

constexpr size_t VarintSize(uint64_t value) {
  size_t size = 1;
  while (value >= 0x80) {
    value >>= 7;
    ++size;
  }
  return size;
}

// Tag, length and content of a length-delimited field with a one-byte tag.
constexpr size_t DelimitedSize(size_t content) { return 1 + VarintSize(content) + content; }

class WireReader {
 public:
  explicit WireReader(std::string_view bytes)
      : begin_(bytes.data()), at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  bool AtEnd() const { return at_ == end_; }
  size_t position() const { return static_cast<size_t>(at_ - begin_); }
  // What is not read yet.
  std::string_view rest() const { return {at_, static_cast<size_t>(end_ - at_)}; }

  // False at the end and on a tag of more than one byte.
  bool ReadTag(uint8_t* tag) {
    if (at_ == end_) return false;
    *tag = static_cast<uint8_t>(*at_++);
    return *tag < 0x80;
  }
  // False if it is cut off or does not fit in 64 bits.
  bool ReadVarint(uint64_t* value) {
    if (at_ != end_ && static_cast<uint8_t>(*at_) < 0x80) {
      *value = static_cast<uint8_t>(*at_++);
      return true;
    }
    return ReadLongVarint(value);
  }
  // False also if it does not fit in 32 bits.
  bool ReadVarint32(uint32_t* value) {
    uint64_t wide = 0;
    if (!ReadVarint(&wide) || wide > UINT32_MAX) return false;
    *value = static_cast<uint32_t>(wide);
    return true;
  }
  bool ReadFixed32(uint32_t* value) {
    if (end_ - at_ < 4) return false;
    std::memcpy(value, at_, 4);  // little-endian on every machine this is built for
    at_ += 4;
    return true;
  }
  // The rest of a field whose tag began with `first`, whatever its number; false if it is cut off
  // or has a wire type that nobody writes any more.
  bool SkipField(uint8_t first);
  // A length, and that many bytes. False also if the length is written in more bytes than 32 bits
  // need: libraries differ on those.
  bool ReadDelimited(std::string_view* content) {
    const char* const begin = at_;
    uint64_t size = 0;
    if (!ReadVarint(&size) || at_ - begin > kLengthBytesMax) return false;
    if (size > static_cast<uint64_t>(end_ - at_)) return false;
    *content = {at_, static_cast<size_t>(size)};
    at_ += size;
    return true;
  }

 private:
  static constexpr ptrdiff_t kLengthBytesMax = 5;

  bool ReadLongVarint(uint64_t* value);

  const char* begin_;
  const char* at_;
  const char* end_;
};

// Writes into memory that the caller has measured.
class WireWriter {
 public:
  explicit WireWriter(char* at) : at_(at) {}
  char* position() const { return at_; }

  void Byte(uint8_t byte) { *at_++ = static_cast<char>(byte); }
  void Varint(uint64_t value) {
    while (value >= 0x80) {
      Byte(static_cast<uint8_t>(value | 0x80));
      value >>= 7;
    }
    Byte(static_cast<uint8_t>(value));
  }
  void Fixed32(uint32_t value) {
    std::memcpy(at_, &value, 4);
    at_ += 4;
  }
  void Raw(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void Delimited(unsigned field, std::string_view content) {
    Byte(WireTag(field, WireType::kLengthDelimited));
    Varint(content.size());
    Raw(content);
  }
  // A varint field, left out where it is 0, as proto3 does.
  void Number(unsigned field, uint64_t value) {
    if (value == 0) return;
    Byte(WireTag(field, WireType::kVarint));
    Varint(value);
  }

 private:
  char* at_;
};

// Whether `text` is well-formed UTF-8 (RFC 3629): no surrogates, nothing over U+10FFFF, no overlong
// form.
bool IsValidUtf8(std::string_view text);

}  // namespace millrace

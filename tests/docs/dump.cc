#include "tests/docs/dump.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <regex>
#include <sstream>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/record/wire.h"

namespace millrace::docs {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

constexpr size_t kBytesPerLine = 8;
constexpr size_t kZerosSpelled = 24;
constexpr int kBytesWidth = 3 * kBytesPerLine - 1;

uint64_t Number(std::string_view bytes) {
  CHECK_LE(bytes.size(), sizeof(uint64_t));
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  return value;
}

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    char digits[4];
    std::snprintf(digits, sizeof(digits), "%s%02x", text.empty() ? "" : " ",
                  static_cast<unsigned>(static_cast<unsigned char>(byte)));
    text += digits;
  }
  return text;
}

std::string SayField(const Field& field, const std::string& name, std::string_view bytes) {
  switch (field.kind) {
    case Kind::kNumber:
      return Say(name, Number(bytes));
    case Kind::kHex:
      return SayHex(name, Number(bytes), bytes.size());
    case Kind::kText:
      return SayText(name, bytes);
    case Kind::kReserved:
      return name;
  }
  LOG(FATAL) << "no such kind";
}

void AddLine(size_t offset, std::string_view bytes, std::string_view says, std::string* out) {
  char start[64];
  std::snprintf(start, sizeof(start), "%04zx  %-*.*s", offset, kBytesWidth,
                static_cast<int>(bytes.size()), bytes.data());
  std::string line = start;
  if (!says.empty()) line += "  " + std::string(says);
  line.erase(line.find_last_not_of(' ') + 1);
  *out += line + "\n";
}

std::string BytesOf(const std::string& text, const std::map<std::string, std::string>& examples) {
  if (text.starts_with('[')) {
    const auto found = examples.find(text.substr(1, text.size() - 2));
    if (found == examples.end()) ADD_FAILURE() << "there is no example " << text;
    return found == examples.end() ? "" : found->second;
  }
  if (const size_t star = text.find('*'); star != std::string::npos) {
    return std::string(std::stoul(text.substr(star + 1)), '\0');
  }
  std::istringstream in(text);
  std::string bytes;
  for (unsigned byte = 0; in >> std::hex >> byte;) bytes.push_back(static_cast<char>(byte));
  return bytes;
}

constexpr uint64_t kWireTypeFixed64 = 1;  // the record batches' reader has no use for it

}  // namespace

std::string Say(std::string_view name, uint64_t value) {
  return std::string(name) + " = " + std::to_string(value);
}

std::string SayHex(std::string_view name, uint64_t value, size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "0x%0*llx", static_cast<int>(2 * bytes),
                static_cast<unsigned long long>(value));
  return std::string(name) + " = " + text;
}

std::string SayText(std::string_view name, std::string_view value) {
  std::string text;
  for (const char byte : value) text += byte == '\0' ? std::string("\\0") : std::string(1, byte);
  return std::string(name) + " = \"" + text + "\"";
}

void Dump::AddBytes(std::string_view bytes, std::string says) {
  rows_.push_back({.bytes = std::string(bytes), .says = std::move(says), .example = {}});
}

void Dump::AddExample(std::string_view name, std::string_view bytes) {
  rows_.push_back({.bytes = std::string(bytes),
                   .says = std::to_string(bytes.size()) + " bytes",
                   .example = std::string(name)});
}

void Dump::AddFields(std::string_view* bytes, std::span<const Field> fields, std::string prefix) {
  for (const Field& field : fields) {
    CHECK_LE(field.size, bytes->size()) << field.name;
    const std::string_view content = bytes->substr(0, field.size);
    AddBytes(content, SayField(field, prefix + std::string(field.name), content));
    bytes->remove_prefix(field.size);
  }
}

void Dump::AddMessage(std::string_view bytes, const Descriptor& type, const std::string& prefix) {
  WireReader in(bytes);
  while (!in.AtEnd()) {
    const std::string_view from = in.rest();
    uint64_t tag = 0;
    CHECK(in.ReadVarint(&tag));
    const FieldDescriptor* field = type.FindFieldByNumber(static_cast<int>(tag >> 3));
    CHECK(field != nullptr) << type.full_name() << " has no field " << (tag >> 3);
    const std::string name = prefix + field->name();
    const auto taken = [&] { return from.substr(0, from.size() - in.rest().size()); };
    uint64_t number = 0;
    uint32_t fixed = 0;
    std::string_view content;
    if ((tag & 7) == static_cast<uint8_t>(WireType::kVarint)) {
      CHECK(in.ReadVarint(&number));
      AddBytes(taken(), Say(name, number));
    } else if ((tag & 7) == static_cast<uint8_t>(WireType::kFixed32)) {
      CHECK(in.ReadFixed32(&fixed));
      AddBytes(taken(), SayHex(name, fixed, sizeof(fixed)));
    } else if ((tag & 7) == kWireTypeFixed64) {
      uint32_t high = 0;
      CHECK(in.ReadFixed32(&fixed));
      CHECK(in.ReadFixed32(&high));
      AddBytes(taken(), SayHex(name, uint64_t{high} << 32 | fixed, sizeof(uint64_t)));
    } else {
      CHECK(in.ReadDelimited(&content));
      // What `packed` holds is a message by agreement, not by its type.
      const Descriptor* inner = field->name() == "packed"
                                    ? type.file()->FindMessageTypeByName("Records")
                                    : field->message_type();
      if (inner == nullptr) {
        AddBytes(taken(), SayText(name, content));
        continue;
      }
      const size_t head = taken().size() - content.size();
      AddBytes(taken().substr(0, head), name + ", " + std::to_string(content.size()) + " bytes");
      AddMessage(content, *inner, name + ".");
    }
  }
}

std::string Dump::Render() const {
  std::string out;
  size_t offset = 0;
  for (const Row& row : rows_) {
    const bool is_zeros =
        row.bytes.size() > kZerosSpelled &&
        std::all_of(row.bytes.begin(), row.bytes.end(), [](char byte) { return byte == '\0'; });
    if (!row.example.empty()) {
      AddLine(offset, "[" + row.example + "]", row.says, &out);
    } else if (is_zeros) {
      AddLine(offset, "00 * " + std::to_string(row.bytes.size()), row.says, &out);
    } else {
      const std::string_view bytes = row.bytes;
      for (size_t at = 0; at < bytes.size(); at += kBytesPerLine) {
        AddLine(offset + at, Hex(bytes.substr(at, kBytesPerLine)), at == 0 ? row.says : "", &out);
      }
    }
    offset += row.bytes.size();
  }
  return out;
}

std::string Dump::Bytes() const {
  std::string bytes;
  for (const Row& row : rows_) bytes += row.bytes;
  return bytes;
}

PageDump ReadDump(std::string_view text, const std::map<std::string, std::string>& examples) {
  static const std::regex row(
      R"(([0-9a-f]{4})  (00 \* \d+|\[[a-z ]+\]|(?:[0-9a-f]{2} )*[0-9a-f]{2})(?: +(\S.*))?)");
  PageDump page;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::smatch parts;
    if (!std::regex_match(line, parts, row)) {
      ADD_FAILURE() << "no row of a dump: " << line;
      continue;
    }
    EXPECT_EQ(std::stoul(parts[1], nullptr, 16), page.bytes.size()) << line;
    page.bytes += BytesOf(parts[2], examples);
    if (parts[3].matched) page.sayings.insert(parts[3]);
  }
  return page;
}

}  // namespace millrace::docs

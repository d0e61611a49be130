// Dumps of bytes as the documents show them: a row a field, with its offset, its bytes and what
// they say. Made from bytes and a table of fields, and read again from a page.
//
//   0018  02 00 00 00 00 00 00 00  term = 2
//
// Eight bytes a line. Long runs of zeros stand as `00 * 200`, and another example's bytes as
// `[its name]`. For tests; one thread.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <google/protobuf/descriptor.h>

namespace millrace::docs {

enum class Kind { kNumber, kHex, kText, kReserved };

// A little-endian field of a fixed layout.
struct Field {
  std::string_view name;
  size_t size = 0;
  Kind kind = Kind::kNumber;
};

// "term = 2"; as every row and every parser's outcome is said.
std::string Say(std::string_view name, uint64_t value);
std::string SayHex(std::string_view name, uint64_t value, size_t bytes);
std::string SayText(std::string_view name, std::string_view value);

class Dump {
 public:
  struct Row {
    std::string bytes;
    std::string says;
    std::string example;  // whose bytes they are, if another's
  };

  // Takes the fields off the front of `bytes`, their names behind `prefix`.
  void AddFields(std::string_view* bytes, std::span<const Field> fields, std::string prefix = "");
  // A whole serialized message, field by field.
  void AddMessage(std::string_view bytes, const google::protobuf::Descriptor& type,
                  const std::string& prefix = "");
  void AddBytes(std::string_view bytes, std::string says);
  void AddExample(std::string_view name, std::string_view bytes);

  std::string Render() const;
  std::string Bytes() const;

 private:
  std::vector<Row> rows_;
};

// What a page's dump says and holds.
struct PageDump {
  std::string bytes;
  std::set<std::string> sayings;
};
// `examples`: the bytes of those that it may refer to. Fails the test where a line is no row or an
// offset is not the one after the row before.
PageDump ReadDump(std::string_view text, const std::map<std::string, std::string>& examples);

}  // namespace millrace::docs

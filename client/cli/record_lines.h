// Records as lines, collected and written to stdout together.
//
// On main's thread.
//
//   RecordLines lines({.output = "json"});
//   lines.Write(record);
//   lines.Flush();
//   RETURN_IF_ERROR(lines.status());
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "millrace/record.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

struct RecordFormat {
  std::string output = "value";  // or "key-value", "json"
  std::string key_separator = "\t";
  std::string null_text = "\\N";  // of a key or a value
};

class RecordLines {
 public:
  explicit RecordLines(RecordFormat format) : format_(std::move(format)) {}

  void Write(const ConsumedRecord& record);
  void Flush();
  // UNAVAILABLE once stdout took no more.
  const Status& status() const { return status_; }

 private:
  static constexpr size_t kFlushBytes = 64 << 10;

  void WriteJson(const ConsumedRecord& record);

  const RecordFormat format_;
  std::string lines_;
  Status status_;
};

}  // namespace millrace::client::cli

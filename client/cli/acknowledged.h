// What was acknowledged of what a command produced, and where: per partition the number of records
// and the first and last offset; and the first failure.
//
// Add is called on the client's thread. Meanwhile records() and has_failed() may be asked from
// another; the rest once nothing is added any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

#include "client/cli/output.h"
#include "millrace/record.h"

namespace millrace::client::cli {

class Acknowledged {
 public:
  void Add(const Delivery& delivery);
  uint64_t records() const { return records_; }
  bool has_failed() const { return has_failed_; }

  // Ok if nothing failed.
  const Status& first_error() const { return first_error_; }
  Json ToJson(const std::string& topic) const;
  Table ToTable() const;

 private:
  struct Range {
    uint64_t records = 0;
    int64_t first = -1;  // -1: not known
    int64_t last = -1;
  };
  std::map<uint32_t, Range> ranges_;
  std::atomic<uint64_t> records_{0};
  std::atomic<bool> has_failed_{false};
  Status first_error_;
};

}  // namespace millrace::client::cli

// What was acknowledged of what a command produced, and where: per partition the number of records
// and the first and last offset.
//
// One owner; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "client/cli/output.h"
#include "client/cpp/producer.h"

namespace millrace::client::cli {

class Acknowledged {
 public:
  // Counts a report without an error.
  void Add(const DeliveryReport& report);
  uint64_t records() const { return records_; }

  Json ToJson(const std::string& topic) const;
  Table ToTable() const;

 private:
  struct Range {
    uint64_t records = 0;
    int64_t first = -1;  // -1: not known
    int64_t last = -1;
  };
  std::map<PartitionId, Range> ranges_;
  uint64_t records_ = 0;
};

}  // namespace millrace::client::cli

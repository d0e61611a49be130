#include "client/cli/acknowledged.h"

#include <algorithm>

namespace millrace::client::cli {

void Acknowledged::Add(const Delivery& delivery) {
  if (!delivery.status.ok()) {
    if (!has_failed_) first_error_ = delivery.status;
    has_failed_ = true;
    return;
  }
  Range& range = ranges_[delivery.partition];
  ++range.records;
  ++records_;
  if (delivery.offset < 0) return;  // stored, too long ago to know where
  range.first = range.first < 0 ? delivery.offset : std::min(range.first, delivery.offset);
  range.last = std::max(range.last, delivery.offset);
}

Json Acknowledged::ToJson(const std::string& topic) const {
  Json json{{"topic", topic}, {"records", records()}, {"partitions", Json::array()}};
  for (const auto& [partition, range] : ranges_) {
    json["partitions"].push_back({{"partition", partition},
                                  {"records", range.records},
                                  {"first_offset", range.first},
                                  {"last_offset", range.last}});
  }
  return json;
}

Table Acknowledged::ToTable() const {
  Table table({"PARTITION", "RECORDS", "FIRST", "LAST"});
  for (const auto& [partition, range] : ranges_) {
    table.Add({std::to_string(partition), std::to_string(range.records),
               std::to_string(range.first), std::to_string(range.last)});
  }
  return table;
}

}  // namespace millrace::client::cli

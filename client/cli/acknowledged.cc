#include "client/cli/acknowledged.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::client::cli {

void Acknowledged::Add(const DeliveryReport& report) {
  CHECK(report.status.ok()) << report.status;
  Range& range = ranges_[report.partition.partition];
  range.records += report.record_count;
  records_ += report.record_count;
  const int64_t first = report.base_offset.value();
  if (first < 0) return;  // stored, too long ago to know where
  const int64_t last = first + report.record_count - 1;
  range.first = range.first < 0 ? first : std::min(range.first, first);
  range.last = std::max(range.last, last);
}

Json Acknowledged::ToJson(const std::string& topic) const {
  Json json{{"topic", topic}, {"records", records_}, {"partitions", Json::array()}};
  for (const auto& [partition, range] : ranges_) {
    json["partitions"].push_back({{"partition", partition.value()},
                                  {"records", range.records},
                                  {"first_offset", range.first},
                                  {"last_offset", range.last}});
  }
  return json;
}

Table Acknowledged::ToTable() const {
  Table table({"PARTITION", "RECORDS", "FIRST", "LAST"});
  for (const auto& [partition, range] : ranges_) {
    table.Add({std::to_string(partition.value()), std::to_string(range.records),
               std::to_string(range.first), std::to_string(range.last)});
  }
  return table;
}

}  // namespace millrace::client::cli

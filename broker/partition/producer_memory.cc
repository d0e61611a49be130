#include "broker/partition/producer_memory.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <glog/logging.h>

#include "broker/partition/producer_table.h"
#include "proto/base/coverage.h"

namespace millrace::broker {

uint64_t ProducerMemory::Add(ProducerTable* table) {
  tables_.emplace(next_key_, table);
  return next_key_++;
}

void ProducerMemory::Grew(size_t count) {
  count_ += count;
  if (count_ <= limits_.per_broker) return;
  MILLRACE_SOMETIMES("a broker forgot its oldest producers");
  Forget(count_ - limits_.per_broker + limits_.per_broker / 8);
  CHECK_LE(count_, limits_.per_broker);
}

void ProducerMemory::Forget(size_t excess) {
  std::vector<int64_t> times;
  times.reserve(count_);
  for (const auto& [key, table] : tables_) table->AddAppendTimes(&times);
  CHECK_EQ(times.size(), count_);
  CHECK_LE(excess, count_);
  if (excess == 0) return;
  const auto newest_forgotten = times.begin() + static_cast<ptrdiff_t>(excess - 1);
  std::nth_element(times.begin(), newest_forgotten, times.end());
  const int64_t time = *newest_forgotten;
  // First what is older than that, wherever it is; then as many as are missing of those that are as
  // old.
  const size_t left = count_ - excess;
  for (const auto& [key, table] : tables_) {
    table->ForgetOldest({.append_time_ms_max = time - 1, .count_max = count_ - left});
  }
  for (const auto& [key, table] : tables_) {
    table->ForgetOldest({.append_time_ms_max = time, .count_max = count_ - left});
  }
  CHECK_EQ(count_, left);
}

}  // namespace millrace::broker

#include "client/core/partitioner.h"

#include <glog/logging.h>

#include "proto/record/key_hash.h"

namespace millrace::client {

Partitioner::Partitioner(uint32_t partition_count, Random random)
    : partition_count_(partition_count), random_(random) {
  CHECK_GT(partition_count, 0u);
  sticky_ = PartitionId(static_cast<uint32_t>(random_.Below(partition_count)));
}

PartitionId Partitioner::Pick(std::optional<std::string_view> key, size_t size) {
  if (key) return PartitionOfKey(*key, partition_count_);
  if (sticky_bytes_ >= kStickyBytes && partition_count_ > 1) {
    // Any but the one before.
    const auto step = static_cast<uint32_t>(random_.Between(1, partition_count_ - 1));
    sticky_ = PartitionId((sticky_.value() + step) % partition_count_);
    sticky_bytes_ = 0;
  }
  sticky_bytes_ += size;
  return sticky_;
}

void Partitioner::Grow(uint32_t partition_count) {
  CHECK_GE(partition_count, partition_count_);
  partition_count_ = partition_count;
}

}  // namespace millrace::client

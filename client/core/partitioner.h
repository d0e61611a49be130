// Which partition a record goes to: by its key as Kafka's default partitioner hashes it; without a
// key to one partition for a while and then to another, so that batches grow large (KIP-480,
// "sticky").
//
// One owner; any one thread.
//
//   PartitionId partition = partitioner.Pick(record.key, size);
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/base/ids.h"
#include "raft/runtime/random.h"

namespace millrace::client {

class Partitioner {
 public:
  // Bytes without a key that go to one partition before the next is chosen.
  static constexpr uint64_t kStickyBytes = 128 << 10;

  // Pre: partition_count > 0.
  Partitioner(uint32_t partition_count, Random random);

  PartitionId Pick(std::optional<std::string_view> key, size_t size);
  // From now on there are so many. Pre: not fewer than before.
  void Grow(uint32_t partition_count);

 private:
  uint32_t partition_count_;
  Random random_;
  PartitionId sticky_;
  uint64_t sticky_bytes_ = 0;
};

}  // namespace millrace::client

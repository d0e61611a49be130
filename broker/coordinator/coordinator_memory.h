// What the shards of the coordinator here, leaders' and followers', may hold in memory together.
// Past it their leaders take no new groups and transactional ids, and no new partitions in commits
// and transactions.
//
// Owned by the Node, on the shard's thread; outlives the shards, which tell it of themselves.
#pragma once

#include <cstdint>

namespace millrace::broker {

struct CoordinatorLimits {
  uint64_t bytes_max = uint64_t{1} << 30;
  // How long what a group committed is kept once it has no members and commits no more.
  int64_t offsets_retention_ms = int64_t{7} * 24 * 60 * 60 * 1000;
};

class CoordinatorMemory {
 public:
  explicit CoordinatorMemory(const CoordinatorLimits& limits) : limits_(limits) {}
  CoordinatorMemory(const CoordinatorMemory&) = delete;
  CoordinatorMemory& operator=(const CoordinatorMemory&) = delete;

  const CoordinatorLimits& limits() const { return limits_; }
  bool is_full() const { return bytes_ >= limits_.bytes_max; }
  uint64_t bytes() const { return bytes_; }
  void Changed(uint64_t before, uint64_t after) { bytes_ += after - before; }

 private:
  const CoordinatorLimits limits_;
  uint64_t bytes_ = 0;
};

}  // namespace millrace::broker

#include "proto/record/key_hash.h"

#include <cstring>

#include <glog/logging.h>

namespace millrace {

uint32_t Murmur2(std::string_view key) {
  constexpr uint32_t kSeed = 0x9747B28C;
  constexpr uint32_t kMultiplier = 0x5BD1E995;
  constexpr unsigned kShift = 24;
  uint32_t hash = kSeed ^ static_cast<uint32_t>(key.size());
  for (; key.size() >= 4; key.remove_prefix(4)) {
    uint32_t word = 0;
    std::memcpy(&word, key.data(), 4);  // little-endian
    word *= kMultiplier;
    word ^= word >> kShift;
    word *= kMultiplier;
    hash = hash * kMultiplier ^ word;
  }
  if (!key.empty()) {
    uint32_t tail = 0;
    std::memcpy(&tail, key.data(), key.size());
    hash = (hash ^ tail) * kMultiplier;
  }
  hash = (hash ^ hash >> 13) * kMultiplier;
  return hash ^ hash >> 15;
}

PartitionId PartitionOfKey(std::string_view key, uint32_t partition_count) {
  CHECK_GT(partition_count, 0u);
  return PartitionId((Murmur2(key) & 0x7FFFFFFF) % partition_count);
}

}  // namespace millrace

// Which partition a key belongs to: the hash of Kafka's default partitioner, so that a topic moved
// over from there keeps its keys where they are, and producers of both kinds agree.
//
// Pure; any thread.
//
//   PartitionId partition = PartitionOfKey("AA", partition_count);
#pragma once

#include <cstdint>
#include <string_view>

#include "proto/base/ids.h"

namespace millrace {

// MurmurHash2 (Austin Appleby), 32 bits, with the seed that Kafka uses.
uint32_t Murmur2(std::string_view key);

// Murmur2 without its sign bit, modulo the count. Pre: partition_count > 0.
PartitionId PartitionOfKey(std::string_view key, uint32_t partition_count);

}  // namespace millrace

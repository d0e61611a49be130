// Which slot of the coordinator a group or a transactional id belongs to, and which shard has it.
//
// Pure; any thread.
//
//   const PartitionInfo& shard = ShardOf(*image.FindTopic(kCoordinatorTopic), SlotOf("billing"));
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/controller/decide.h"
#include "broker/controller/image.h"
#include "proto/record/key_hash.h"

namespace millrace::broker {

inline uint32_t SlotOf(std::string_view id) { return Murmur2(id) % kCoordinatorSlots; }

// Pre: the topic is a coordinator's.
inline const PartitionInfo& ShardOf(const TopicInfo& coordinator, uint32_t slot) {
  return coordinator.partitions[slot % coordinator.partitions.size()];
}

}  // namespace millrace::broker

// Which slot of the coordinator a group, a transactional id or its producer id belongs to, and
// which shard has it.
//
// Pure; any thread.
//
//   const PartitionInfo& shard = ShardOf(*image.FindTopic(kCoordinatorTopic), SlotOf("billing"));
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/controller/decide.h"
#include "broker/controller/image.h"
#include "broker/controller/producer_id.h"
#include "proto/base/ids.h"
#include "proto/record/key_hash.h"

namespace millrace::broker {

inline uint32_t SlotOf(std::string_view id) { return Murmur2(id) % kCoordinatorSlots; }
// A producer of transactions has an id that says so. Of any other one it means nothing.
inline uint32_t SlotOf(ProducerId id) {
  return static_cast<uint32_t>(ProducerNumber(id) % kCoordinatorSlots);
}

// Pre: the topic is a coordinator's.
inline const PartitionInfo& ShardOf(const TopicInfo& coordinator, uint32_t slot) {
  return coordinator.partitions[slot % coordinator.partitions.size()];
}

}  // namespace millrace::broker

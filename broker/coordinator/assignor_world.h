// What assignors look at: members in order, topics that exist and that somebody subscribes to, by
// who does, and which of them go together.
//
// A value that points into the input. Any thread.
//
//   const AssignorWorld world = WorldOf(input);
//   for (const TopicClass& topics : world.classes) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "broker/coordinator/assignor.h"

namespace millrace::broker {

// Topics whose partitions of one number have one owner; mostly one topic.
struct TopicSet {
  std::vector<const AssignorTopic*> topics;  // by id; at least one
  uint32_t width = 0;                        // the most partitions that one of them has
};

// All topics that just these members subscribe to.
struct TopicClass {
  std::vector<size_t> members;  // places in AssignorWorld::members, in order; at least one
  std::vector<TopicSet> sets;   // by the id of their first topics
};

struct AssignorWorld {
  std::vector<const AssignorMember*> members;  // by id
  std::vector<TopicClass> classes;             // those of the fewest members first
};

// Pre: no two members, and no two topics, are of one id.
AssignorWorld WorldOf(const AssignorInput& input);

// Adds those of the run that each topic of the set has.
void GivePartitions(const TopicSet& set, PartitionRun run, Assignment* assignment);

}  // namespace millrace::broker

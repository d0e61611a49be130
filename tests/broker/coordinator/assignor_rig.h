// Groups to assign partitions to, in few words, and what has to hold of any assignment, each said
// as plainly as it can be. What is wrong is told, "" if nothing is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/coordinator/assignor.h"
#include "raft/runtime/random.h"

namespace millrace::broker {

using Subscription = std::vector<uint64_t>;

inline std::vector<TopicId> TopicIds(const Subscription& topics) {
  std::vector<TopicId> ids;
  for (const uint64_t topic : topics) ids.emplace_back(topic);
  return ids;
}

inline AssignorMember Member(std::string id, const Subscription& topics, std::string rack = "") {
  AssignorMember member;
  member.id = std::move(id);
  member.rack = std::move(rack);
  member.topics = TopicIds(topics);
  return member;
}

inline AssignorTopic Topic(uint64_t id, uint32_t partitions) {
  return {.id = TopicId(id), .partition_count = partitions, .replica_racks = {}};
}

inline PartitionRuns Runs(uint32_t first, uint32_t end) {
  return PartitionRuns({.first = PartitionId(first), .end = PartitionId(end)});
}

// Everybody has what was assigned.
inline void Settle(const Assignments& assigned, AssignorInput* input) {
  for (AssignorMember& member : input->members) member.current = assigned.at(member.id);
}

inline std::map<TopicPartition, std::string> OwnersOf(const Assignments& assignments) {
  std::map<TopicPartition, std::string> owners;
  for (const auto& [member, assignment] : assignments) {
    for (const auto& [topic, runs] : assignment) {
      for (const PartitionId partition : runs) owners[{topic, partition}] = member;
    }
  }
  return owners;
}

inline std::set<std::string> SubscribersOf(const AssignorInput& input, TopicId topic) {
  std::set<std::string> subscribers;
  for (const AssignorMember& member : input.members) {
    if (std::count(member.topics.begin(), member.topics.end(), topic) > 0) {
      subscribers.insert(member.id);
    }
  }
  return subscribers;
}

// Each partition that somebody subscribes to is one's, who does; there is nothing else.
inline std::string WrongOwners(const AssignorInput& input, const Assignments& assigned) {
  if (assigned.size() != input.members.size()) return "not everybody has an assignment";
  const std::map<TopicPartition, std::string> owners = OwnersOf(assigned);
  size_t expected = 0;
  for (const AssignorTopic& topic : input.topics) {
    const std::set<std::string> subscribers = SubscribersOf(input, topic.id);
    if (subscribers.empty()) continue;
    expected += topic.partition_count;
    for (uint32_t partition = 0; partition < topic.partition_count; ++partition) {
      const auto owner = owners.find({topic.id, PartitionId(partition)});
      if (owner == owners.end()) return "a partition has no owner";
      if (!subscribers.contains(owner->second)) return owner->second + " does not subscribe to it";
    }
  }
  size_t given = 0;
  for (const auto& [member, assignment] : assigned) {
    given += PartitionCountOf(assignment);
    for (const auto& [topic, runs] : assignment) {
      if (runs.empty()) return "a topic without partitions was given to " + member;
    }
  }
  return given == expected ? "" : "a partition was given twice, or does not exist";
}

// By topic: the first of those that it goes together with.
inline std::map<TopicId, TopicId> TogetherIn(const AssignorInput& input) {
  std::map<TopicId, TopicId> first;
  for (const AssignorTopic& topic : input.topics) first[topic.id] = topic.id;
  for (size_t round = 0; round < input.topics.size(); ++round) {
    for (const AssignorMember& member : input.members) {
      for (const std::vector<TopicId>& set : member.topic_sets) {
        for (const TopicId a : set) {
          for (const TopicId b : set) {
            if (!first.contains(a) || !first.contains(b)) continue;
            if (SubscribersOf(input, a) != SubscribersOf(input, b)) continue;
            first[a] = first[b] = std::min(first[a], first[b]);
          }
        }
      }
    }
  }
  return first;
}

// A topic's, or that of what it goes together with, and a number: what has one owner.
using Unit = std::pair<TopicId, PartitionId>;

inline std::string WrongSets(const AssignorInput& input, const Assignments& assigned) {
  const std::map<TopicId, TopicId> first = TogetherIn(input);
  std::map<Unit, std::string> owner_of;
  for (const auto& [partition, owner] : OwnersOf(assigned)) {
    const auto [unit, is_new] =
        owner_of.emplace(Unit(first.at(partition.topic), partition.partition), owner);
    if (!is_new && unit->second != owner) return "topics of a set do not line up";
  }
  return "";
}

inline std::map<Unit, std::string> UnitOwners(const AssignorInput& input,
                                              const Assignments& assigned) {
  const std::map<TopicId, TopicId> first = TogetherIn(input);
  std::map<Unit, std::string> owners;
  for (const auto& [partition, owner] : OwnersOf(assigned)) {
    if (!first.contains(partition.topic)) continue;  // it is gone
    owners[{first.at(partition.topic), partition.partition}] = owner;
  }
  return owners;
}

// Nobody has two units more than somebody whom one could be passed on to, on whatever way.
inline std::string WrongBalance(const AssignorInput& input, const Assignments& assigned) {
  std::map<std::string, size_t> loads;
  std::map<std::string, std::set<std::string>> reach;  // whom one can pass something on to
  for (const AssignorMember& member : input.members) loads[member.id] = 0;
  for (const auto& [unit, owner] : UnitOwners(input, assigned)) {
    ++loads[owner];
    reach[owner].merge(SubscribersOf(input, unit.first));
  }
  for (const auto& [by_way_of, unused] : loads) {
    for (const auto& [from, also_unused] : loads) {
      if (!reach[from].contains(by_way_of)) continue;
      const std::set<std::string> further = reach[by_way_of];
      reach[from].insert(further.begin(), further.end());
    }
  }
  for (const auto& [from, load] : loads) {
    for (const std::string& to : reach[from]) {
      if (load >= loads[to] + 2) {
        return from + " has " + std::to_string(load) + ", and " + to + " has " +
               std::to_string(loads[to]);
      }
    }
  }
  return "";
}

inline bool AllSubscribeToTheSame(const AssignorInput& input) {
  for (const AssignorMember& member : input.members) {
    const std::set<TopicId> mine(member.topics.begin(), member.topics.end());
    const std::set<TopicId> first(input.members[0].topics.begin(), input.members[0].topics.end());
    if (mine != first) return false;
  }
  return true;
}

// How many units have another owner than before, of those whose owner is still there.
inline size_t MovesOf(const AssignorInput& input, const Assignments& before,
                      const Assignments& after) {
  size_t moves = 0;
  const std::map<Unit, std::string> now = UnitOwners(input, after);
  for (const auto& [unit, owner] : UnitOwners(input, before)) {
    if (now.contains(unit) && after.contains(owner) && now.at(unit) != owner) ++moves;
  }
  return moves;
}

// The fewest moves that balance takes if all subscribe to the same: as many as divide with a rest
// may have one more, and it is least to move if those are the ones who have the most.
inline size_t MovesNeeded(const AssignorInput& input, const Assignments& before,
                          const Assignments& after) {
  std::map<std::string, size_t> held;
  const std::map<Unit, std::string> now = UnitOwners(input, after);
  for (const AssignorMember& member : input.members) held[member.id] = 0;
  for (const auto& [unit, owner] : UnitOwners(input, before)) {
    if (now.contains(unit) && held.contains(owner)) ++held[owner];
  }
  std::vector<size_t> most_first;
  for (const auto& [member, count] : held) most_first.push_back(count);
  std::sort(most_first.rbegin(), most_first.rend());
  size_t moves = 0;
  for (size_t i = 0; i < most_first.size(); ++i) {
    const size_t share = now.size() / held.size() + (i < now.size() % held.size() ? 1 : 0);
    moves += most_first[i] - std::min(most_first[i], share);
  }
  return moves;
}

template <typename T>
void Shuffle(Random* random, std::vector<T>* items) {
  for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[random->Below(i)]);
}

inline AssignorInput Shuffled(AssignorInput input, Random* random) {
  Shuffle(random, &input.members);
  Shuffle(random, &input.topics);
  for (AssignorMember& member : input.members) {
    Shuffle(random, &member.topics);
    Shuffle(random, &member.topic_sets);
    for (std::vector<TopicId>& set : member.topic_sets) Shuffle(random, &set);
  }
  return input;
}

}  // namespace millrace::broker

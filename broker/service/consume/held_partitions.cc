#include "broker/service/consume/held_partitions.h"

#include <set>
#include <utility>

#include <glog/logging.h>

#include "broker/service/consume/consume_request.h"

namespace millrace::broker {
namespace {

TopicPartition PartitionOf(uint64_t topic, uint32_t partition) {
  return {.topic = TopicId(topic), .partition = PartitionId(partition)};
}

std::set<TopicPartition> RevokedIn(const v1::Assignment& assignment) {
  std::set<TopicPartition> revoked;
  for (const v1::OwnedPartitions& topic : assignment.revoked()) {
    for (const uint32_t partition : topic.partitions()) {
      revoked.insert(PartitionOf(topic.topic_id(), partition));
    }
  }
  return revoked;
}

std::map<TopicPartition, uint32_t> TokensIn(const v1::Assignment& assignment) {
  std::map<TopicPartition, uint32_t> tokens;
  for (const v1::AssignedTopic& topic : assignment.topics()) {
    for (const v1::AssignedPartition& assigned : topic.partitions()) {
      tokens[PartitionOf(topic.topic_id(), assigned.partition())] = assigned.fencing_token();
    }
  }
  return tokens;
}

}  // namespace

HeldPartitions::Change HeldPartitions::Take(const v1::Assignment& assignment) {
  const std::map<TopicPartition, uint32_t> tokens = TokensIn(assignment);
  const std::set<TopicPartition> revoked = RevokedIn(assignment);
  Change change;
  std::vector<TopicPartition> dropped;
  for (const auto& [partition, held] : held_) {
    const auto now = tokens.find(partition);
    const bool is_kept = now != tokens.end() && now->second == held.fencing_token;
    if (is_kept && !held.revoked_by.has_value()) continue;
    if (!revoked.contains(partition)) {
      dropped.push_back(partition);
    } else if (held.revoked_by.has_value()) {
      continue;
    } else if (held.is_told) {
      change.revoked.push_back(held);
    } else {
      dropped.push_back(partition);
    }
  }
  for (const TopicPartition& partition : dropped) change.lost.push_back(Drop(partition));
  for (const v1::AssignedTopic& topic : assignment.topics()) {
    for (const v1::AssignedPartition& assigned : topic.partitions()) Add(topic, assigned);
  }
  return change;
}

void HeldPartitions::Add(const v1::AssignedTopic& topic, const v1::AssignedPartition& assigned) {
  const TopicPartition partition = PartitionOf(topic.topic_id(), assigned.partition());
  const auto [place, is_new] = held_.try_emplace(partition);
  if (!is_new) return;
  HeldPartition& held = place->second;
  held.partition = partition;
  held.topic = topic.topic();
  held.fencing_token = assigned.fencing_token();
  if (assigned.has_offset()) held.committed = assigned.offset();
  MoveTo(&held, BeginningOf(assigned, start_));
}

HeldPartition HeldPartitions::Drop(const TopicPartition& partition) {
  const auto found = held_.find(partition);
  CHECK(found != held_.end());
  HeldPartition held = std::move(found->second);
  held_.erase(found);
  by_reading_.erase(held.reading);
  return held;
}

HeldPartition* HeldPartitions::Find(uint64_t reading) {
  const auto found = by_reading_.find(reading);
  return found == by_reading_.end() ? nullptr : &held_.at(found->second);
}

void HeldPartitions::MoveTo(HeldPartition* held, const v1::Position& position) {
  by_reading_.erase(held->reading);
  held->reading = next_reading_++;
  held->position = position;
  held->start.reset();
  held->is_read = false;
  by_reading_[held->reading] = held->partition;
}

void HeldPartitions::SetRevokedBy(uint64_t number, const std::vector<HeldPartition>& revoked) {
  for (const HeldPartition& one : revoked) {
    held_.at(one.partition).revoked_by = number;
    revoked_[number].push_back(one.reading);
  }
}

std::vector<uint64_t> HeldPartitions::GiveUp(uint64_t up_to) {
  std::vector<uint64_t> given_up;
  while (!revoked_.empty() && revoked_.begin()->first <= up_to) {
    for (const uint64_t reading : revoked_.begin()->second) {
      const HeldPartition* held = Find(reading);
      if (held != nullptr) Drop(TopicPartition(held->partition));
      given_up.push_back(reading);
    }
    revoked_.erase(revoked_.begin());
  }
  return given_up;
}

}  // namespace millrace::broker

// The partitions that a Consume stream's member has, by what it was assigned, and what its client
// was told of them.
//
// Owned by the stream's handler. Pure; one thread.
//
//   HeldPartitions held(start);
//   HeldPartitions::Change change = held.Take(assignment);
//   ... tell the client of change.revoked as message N ... held.SetRevokedBy(N, change.revoked);
//   held.GiveUp(up_to);  if (!held.is_revoking()) Answer(...);
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"

namespace millrace::broker {

struct HeldPartition {
  TopicPartition partition;
  std::string topic;
  uint32_t fencing_token = 0;
  // Of this ownership; another one for each.
  uint64_t reading = 0;
  v1::Position position;  // where it begins
  std::optional<int64_t> committed;
  // Once it is found; the client may not be told yet.
  std::optional<Offset> start;
  bool is_read = false;
  bool is_told = false;
  // The message that told the client to give it up.
  std::optional<uint64_t> revoked_by;
};

class HeldPartitions {
 public:
  // Nothing more is read of what is in here.
  struct Change {
    std::vector<HeldPartition> revoked;  // the client was told that it has them, and is to give up
    std::vector<HeldPartition> lost;  // held no more; is_told: the client thinks that it has them
  };

  // `start`: where to begin if nothing is committed.
  explicit HeldPartitions(v1::ConsumeStart start) : start_(start) {}

  // What is new is not read yet.
  Change Take(const v1::Assignment& assignment);
  // Null if it is not held.
  HeldPartition* Find(uint64_t reading);
  // It begins anew elsewhere, as a reading of its own.
  void MoveTo(HeldPartition* held, const v1::Position& position);
  // Each, in order.
  std::map<TopicPartition, HeldPartition>& all() { return held_; }

  void SetRevokedBy(uint64_t number, const std::vector<HeldPartition>& revoked);
  // What was revoked by messages up to this one is held no more: their readings.
  std::vector<uint64_t> GiveUp(uint64_t up_to);
  // Whether the client is still to give up something.
  bool is_revoking() const { return !revoked_.empty(); }

 private:
  void Add(const v1::AssignedTopic& topic, const v1::AssignedPartition& assigned);
  HeldPartition Drop(const TopicPartition& partition);

  const v1::ConsumeStart start_;
  std::map<TopicPartition, HeldPartition> held_;
  std::map<uint64_t, TopicPartition> by_reading_;
  // By number of the message, the readings.
  std::map<uint64_t, std::vector<uint64_t>> revoked_;
  uint64_t next_reading_ = 1;
};

}  // namespace millrace::broker

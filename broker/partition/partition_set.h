// The partitions that this broker holds a replica of. Replicas come into being when the
// controller's log says so and go when it says so, never for any other reason (design D3).
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <map>
#include <memory>

#include "broker/controller/image.h"
#include "broker/partition/partition.h"

namespace millrace::broker {

class PartitionSet {
 public:
  PartitionSet(const Partition::Environment& environment, Voter self)
      : environment_(environment), self_(self) {}

  // A replica that storage recovered; the controller's log, applied later, adds its settings.
  void AddRecovered(raft::RecoveredReplica recovered);
  // The topic was created: makes the replicas that are placed here and not here yet.
  void OnTopicCreated(const TopicInfo& topic);
  // The topic was deleted: removes its replicas here.
  void OnTopicDeleted(const TopicInfo& topic);

  // Null if this broker holds no replica of the group.
  Partition* Find(RaftGroupId group) const;
  const std::map<RaftGroupId, std::unique_ptr<Partition>>& all() const { return partitions_; }
  // Called whenever a partition's leadership changed.
  using LeadershipListener = MoveFunction<void(RaftGroupId, const raft::Leadership&)>;
  void SetLeadershipListener(LeadershipListener listener) { listener_ = std::move(listener); }
  // Stops: forgets all partitions. The host must have forgotten its replicas.
  void Clear() { partitions_.clear(); }

 private:
  Partition* Emplace(RaftGroupId group, TopicPartition name);

  Partition::Environment environment_;
  Voter self_;
  LeadershipListener listener_;
  std::map<RaftGroupId, std::unique_ptr<Partition>> partitions_;
};

}  // namespace millrace::broker

// The replicas that this broker holds, of partitions and of the coordinator's shards: what a topic
// is decides which state machine each gets. They come into being when the controller's image says
// so and go when it says so, never for any other reason (design D3).
//
// What is here is held against the image, not against single records: a record may have gone into a
// snapshot before anybody acted on it. So any image may come, any number of times.
//
// Owned by the Node, on the shard's thread.
//
//   replicas.AddRecovered(std::move(replica));   // all of them, before an image
//   replicas.ReconcileAll(image);                // once an image was restored
//   replicas.Reconcile(image, topic);            // after each record, and each entry without one
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "broker/controller/image.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/shard.h"
#include "broker/partition/compactor.h"
#include "broker/partition/partition.h"
#include "raft/host/host.h"

namespace millrace::broker {

class ReplicaSet {
 public:
  // All outlive this. `executor` is the shard's.
  ReplicaSet(raft::Host& host, const Partition::Environment& environment,
             CoordinatorMemory& coordinator_memory, Executor& executor,
             const CompactorOptions& compaction, const BrokerIncarnation& self, Random random);

  // A replica that storage recovered; the image, which may come later, adds its settings.
  void AddRecovered(raft::RecoveredReplica recovered);
  // Makes the topic's replicas that the image places here and that are not here yet, and gives them
  // its settings; removes those that are here if the image had the topic and has it no more. Of a
  // topic that an image is too old to know it leaves the replicas as they are. 0: the image is
  // newer than it was, and no topic is another. An image that is older than what the replicas here
  // rest on is not acted on, until it has become as new as that.
  void Reconcile(const Image& image, TopicId topic);
  // The same for every topic that the image has or that is here.
  void ReconcileAll(const Image& image);

  // Partition::Tend and CoordinatorShard::Tend, of each; and begins what is to be compacted.
  void Tend(std::optional<int64_t> wall_ms);

  // Null if this broker holds no replica of the group, or it is of another kind.
  Partition* Find(RaftGroupId group) const;
  CoordinatorShard* FindShard(RaftGroupId group) const;
  const std::map<RaftGroupId, std::unique_ptr<Partition>>& partitions() const {
    return partitions_;
  }
  const std::map<RaftGroupId, std::unique_ptr<CoordinatorShard>>& shards() const { return shards_; }
  // How far the replica here is compacted; nullopt if there is none, or no pass was decided.
  std::optional<CompactionProgress> ProgressOf(RaftGroupId group) const;
  // Called whenever a replica's leadership changed.
  using LeadershipListener = MoveFunction<void(RaftGroupId, const raft::Leadership&)>;
  void SetLeadershipListener(LeadershipListener listener) { listener_ = std::move(listener); }
  // Called with what an entry of a shard has changed.
  using ChangeListener = MoveFunction<void(RaftGroupId, const CoordinatorShard::Changes&)>;
  void SetChangeListener(ChangeListener listener) { change_listener_ = std::move(listener); }
  // Stops: forgets all replicas. The host must have halted them.
  void Clear() {
    compactor_.Stop();
    partitions_.clear();
    shards_.clear();
    topics_.clear();
  }

 private:
  // The replica's state machine.
  raft::StateMachine& Emplace(const raft::ReplicaRecord& record);
  bool Holds(RaftGroupId group) const {
    return partitions_.contains(group) || shards_.contains(group);
  }
  // Whether a replica that the image places here may begin with the configuration that it tells.
  bool MayBegin(const PartitionInfo& info, ReplicaNumber number) const;
  bool IsTooOld(const Image& image);
  void ReconcileTopic(const Image& image, TopicId topic);
  void Hold(const TopicInfo& topic, LogIndex controller_index);
  // Whether the replica that the image places here is here, made if it may be.
  bool HoldReplica(const TopicInfo& topic, const PartitionInfo& info, LogIndex controller_index);
  void Remove(TopicId topic, LogIndex controller_index);
  // In turn, as one is compacted at a time.
  void OfferPasses();

  raft::Host* host_;
  Partition::Environment environment_;
  BrokerIncarnation self_;
  LeadershipListener listener_;
  ChangeListener change_listener_;
  CoordinatorShard::Environment shard_environment_;
  std::map<RaftGroupId, std::unique_ptr<Partition>> partitions_;
  std::map<RaftGroupId, std::unique_ptr<CoordinatorShard>> shards_;
  struct HeldTopic {
    std::string name;  // empty until an image tells it
    std::set<RaftGroupId> groups;
  };
  std::map<TopicId, HeldTopic> topics_;  // those of the replicas
  Compactor compactor_;
  RaftGroupId last_offered_;      // of passes
  bool is_image_behind_ = false;  // what it said when it was too old was not acted on
};

}  // namespace millrace::broker

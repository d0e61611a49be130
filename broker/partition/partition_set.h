// The partitions that this broker holds a replica of. Replicas come into being when the
// controller's image says so and go when it says so, never for any other reason (design D3).
//
// What is here is held against the image, not against single records: a record may have gone into a
// snapshot before anybody acted on it. So any image may come, any number of times.
//
// Owned by the Node, on the shard's thread.
//
//   partitions.AddRecovered(std::move(replica));   // all of them, before an image
//   partitions.ReconcileAll(image);                // once an image was restored
//   partitions.Reconcile(image, topic);            // after each record, and each entry without one
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "broker/controller/image.h"
#include "broker/partition/compactor.h"
#include "broker/partition/partition.h"
#include "raft/host/host.h"

namespace millrace::broker {

class PartitionSet {
 public:
  // `executor` is the shard's.
  PartitionSet(raft::Host& host, const Partition::Environment& environment, Executor& executor,
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

  // Partition::Tend, of each; and begins what is to be compacted.
  void Tend(std::optional<int64_t> wall_ms);

  // Null if this broker holds no replica of the group.
  Partition* Find(RaftGroupId group) const;
  const std::map<RaftGroupId, std::unique_ptr<Partition>>& all() const { return partitions_; }
  // How far the replica here is compacted; nullopt if there is none, or no pass was decided.
  std::optional<CompactionProgress> ProgressOf(RaftGroupId group) const;
  // Called whenever a partition's leadership changed.
  using LeadershipListener = MoveFunction<void(RaftGroupId, const raft::Leadership&)>;
  void SetLeadershipListener(LeadershipListener listener) { listener_ = std::move(listener); }
  // Stops: forgets all partitions. The host must have halted its replicas.
  void Clear() {
    compactor_.Stop();
    partitions_.clear();
    topics_.clear();
  }

 private:
  Partition* Emplace(RaftGroupId group, TopicPartition name);
  // Whether a replica that the image places here may begin with the configuration that it tells.
  bool MayBegin(const PartitionInfo& info, ReplicaNumber number) const;
  bool IsTooOld(const Image& image);
  void ReconcileTopic(const Image& image, TopicId topic);
  void Hold(const TopicInfo& topic, LogIndex controller_index);
  void Remove(TopicId topic, LogIndex controller_index);
  // In turn, as one is compacted at a time.
  void OfferPasses();

  raft::Host* host_;
  Partition::Environment environment_;
  BrokerIncarnation self_;
  LeadershipListener listener_;
  std::map<RaftGroupId, std::unique_ptr<Partition>> partitions_;
  struct HeldTopic {
    std::string name;  // empty until an image tells it
    std::set<RaftGroupId> groups;
  };
  std::map<TopicId, HeldTopic> topics_;  // those of partitions_
  Compactor compactor_;
  RaftGroupId last_offered_;      // of passes
  bool is_image_behind_ = false;  // what it said when it was too old was not acted on
};

}  // namespace millrace::broker

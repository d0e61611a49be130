// The cluster's metadata as the controller's log says it is: brokers, topics, placements and
// counters. Changed by Apply alone, so that every broker that applied the same records has the same
// image. Saved and loaded whole, it goes on as if nothing had happened.
//
// A value, whose copies share what neither changes: a copy is cheap, and may be read on another
// thread. Otherwise on the shard's thread.
//
//   RETURN_IF_ERROR(image.Apply(record));
//   image.SaveTo(&message);
//   ASSIGN_OR_RETURN(Image same, Image::LoadFrom(message));
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/controller/leader_epoch.h"
#include "broker/controller/producer_id.h"
#include "millrace/internal/v1/controller.pb.h"
#include "proto/base/copy_on_write.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/log_store.h"

namespace millrace::broker {

struct BrokerInfo {
  BrokerId id;
  Incarnation incarnation;
  // As registered last, with all incarnations that it supersedes.
  internal::v1::BrokerRegistered registration;
};
// Where clients reach the broker, HOST:PORT; empty if it has told no place.
const std::string& ClientAddressOf(const BrokerInfo& broker);

struct PartitionInfo {
  PartitionId partition;
  RaftGroupId group;
  std::vector<Voter> replicas;  // in order of placement: the first campaigns first
  // Larger than that of any replica that the group ever had.
  ReplicaNumber next_number;
  // Whether `replicas` are what the group began with. Only then may a broker begin a replica with
  // them: one that comes later would start a group of strangers.
  bool first_configuration_stands = true;
  Offset first_offset;

  // Null if there is no replica on this broker with this data directory.
  const Voter* FindReplica(const BrokerIncarnation& holder) const;
};

// What the partitions of a topic are replicas of. As raft::ReplicaKind has it.
enum class TopicKind : uint8_t {
  kPartitionLog,
  kCoordinator,  // shards of the coordinator; Millrace's own
};

// The topic of the coordinator's shards.
inline constexpr std::string_view kCoordinatorTopic = "__coordinator";
// The feature level that has it, and the commands of its shards.
inline constexpr uint8_t kCoordinatorLevel = 3;
// The feature level that has transactions, in partitions and in shards.
inline constexpr uint8_t kTransactionLevel = 4;

struct TopicInfo {
  TopicId id;
  std::string name;
  TopicKind kind = TopicKind::kPartitionLog;
  std::map<std::string, std::string> settings;
  std::vector<PartitionInfo> partitions;  // by partition number, without gaps
  uint64_t request_id = 0;                // that made it; 0: unknown
  uint64_t grown_by = 0;                  // the request that added partitions last; 0: none known
  uint32_t leader_epoch_base = 0;         // broker/controller/leader_epoch.h; at least 1
  uint32_t slot_count = 0;                // of a coordinator: TopicCreated.slot_count

  // Whether it is Millrace's own, which no client reads, writes or changes.
  bool is_internal() const { return kind != TopicKind::kPartitionLog; }
};

class Image {
 public:
  // Not ok, and nothing is changed: UNIMPLEMENTED if this version does not know the record,
  // DATA_LOSS if it cannot have been decided on an image equal to this one.
  Status Apply(const internal::v1::ControllerRecord& record);

  // All records of the entry are applied, if it has any. DATA_LOSS if the image is not older.
  Status NoteApplied(LogIndex index);
  // How new the image is: the last entry applied.
  LogIndex applied_index() const { return applied_index_; }

  // Everything that Apply rests on, in the fields that are the image's own.
  void SaveTo(internal::v1::ControllerImage* saved) const;
  // DATA_LOSS if it is none that SaveTo made, UNIMPLEMENTED if a later version's did.
  static Result<Image> LoadFrom(const internal::v1::ControllerImage& saved);

  using Topics = std::map<TopicId, std::shared_ptr<const TopicInfo>>;

  const std::map<BrokerId, BrokerInfo>& brokers() const { return *brokers_; }
  const Topics& topics() const { return *topics_; }
  const std::map<std::string, TopicId, std::less<>>& topics_by_name() const { return *topic_ids_; }
  // Null if there is none.
  const TopicInfo* FindTopic(std::string_view name) const;
  const TopicInfo* FindTopic(TopicId id) const;
  const BrokerInfo* FindBroker(BrokerId id) const;
  // The topic whose partition the group is.
  const TopicInfo* FindTopicOf(RaftGroupId group) const;

  // The largest leader epoch that a topic of this name ever had, or may have had; 0 if none.
  uint32_t EpochEndOf(std::string_view name) const;
  // The topic that this request deleted, if it is among the last 1,000 with a number; else 0.
  TopicId DeletedBy(uint64_t request_id) const;

  TopicId next_topic_id() const { return next_topic_id_; }
  RaftGroupId next_group_id() const { return next_group_id_; }
  // The feature level that the cluster is of; 0 before its first broker.
  uint32_t level() const { return level_; }
  // What entries are written at: no broker knows less.
  uint8_t entry_level() const;
  // The number of the next producer id to be allocated, and what ids are marked with, empty before
  // the first broker is registered (broker/controller/producer_id.h).
  uint64_t next_producer_number() const { return next_producer_number_; }
  const std::string& producer_id_key() const { return producer_id_key_; }
  // Of topics that are not Millrace's own.
  size_t topic_count() const;
  size_t partition_count() const;

  // Whether the creation of this topic was applied. A topic that was made and is not there was
  // deleted; of one that was not made an image says nothing: it may be older than the topic.
  bool HasMade(TopicId topic) const { return topic < next_topic_id_; }
  bool IsDeleted(TopicId topic) const { return HasMade(topic) && FindTopic(topic) == nullptr; }

 private:
  struct Deletion {
    uint64_t request_id = 0;
    TopicId topic;
  };

  Status ApplyTopicCreated(const internal::v1::TopicCreated& created);
  // Its groups are `group_min` and up.
  Status AddTopic(const internal::v1::TopicCreated& created, RaftGroupId group_min);
  // The topic's partitions from `first` on are findable by their groups, which are given out now.
  void NoteGroups(const TopicInfo& topic, size_t first);
  Status CheckGroupsAreOfOneTopic() const;
  void RememberEpochEnd(const std::string& name, uint32_t end);
  Status ApplyTopicAltered(const internal::v1::TopicAltered& altered);
  Status ApplyPartitionsAdded(const internal::v1::PartitionsAdded& added);
  Status ApplyTopicDeleted(const internal::v1::TopicDeleted& deleted);
  Status ApplyProducerIds(const internal::v1::ProducerIdsAllocated& allocated);
  Status ApplyLevel(uint32_t level);
  Status ApplyProducerIdKey(const std::string& key);
  Status ApplyBroker(const internal::v1::BrokerRegistered& registered);

  CopyOnWrite<std::map<BrokerId, BrokerInfo>> brokers_;
  CopyOnWrite<Topics> topics_;
  CopyOnWrite<std::map<std::string, TopicId, std::less<>>> topic_ids_;
  // Topics by the first of each run of their groups. Groups are numbered as partitions are made, so
  // that a topic's lie together; those that were added to it later are a run of their own.
  CopyOnWrite<std::map<RaftGroupId, TopicId>> first_groups_;
  // Ends of leader epochs, of names whose topic was deleted: the 1,000 largest, and the largest of
  // all others. So what is kept has a bound, and a name made again and again raises no other's.
  CopyOnWrite<std::map<std::string, uint32_t, std::less<>>> deleted_names_;
  uint32_t deleted_epoch_end_ = 0;
  CopyOnWrite<std::deque<Deletion>> deletions_;  // those with a request id, oldest first
  TopicId next_topic_id_{1};
  RaftGroupId next_group_id_{kControllerGroup.value() + 1};
  uint64_t next_producer_number_ = kProducerNumberMin;
  std::string producer_id_key_;
  LogIndex applied_index_;
  uint32_t level_ = 0;
};

// UNIMPLEMENTED, naming it, if the registration has a value that this version does not know.
Status CheckUnderstood(const internal::v1::BrokerRegistered& registered);

// What the replica `self` of `partition` is created from.
raft::ReplicaRecord RecordOf(const TopicInfo& topic, const PartitionInfo& partition,
                             const Voter& self);

// FAILED_PRECONDITION below the feature level. `what`: that there is from it on, "topics can be
// altered".
Status CheckLevel(const Image& image, uint8_t level, std::string_view what);
inline Status CheckHasTransactions(const Image& image) {
  return CheckLevel(image, kTransactionLevel, "there are transactions");
}

}  // namespace millrace::broker

#include "broker/controller/image.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "proto/base/coverage.h"
#include "proto/frame/frame.h"

namespace millrace::broker {
namespace {

using internal::v1::BrokerRegistered;
using internal::v1::ControllerImage;
using internal::v1::PartitionPlacement;
using internal::v1::PartitionsAdded;
using internal::v1::TopicCreated;

// The newest version of ControllerImage, which is written from kInterleavedLevel on.
constexpr uint32_t kImageVersion = 2;
// Builds that know no more than a level below it take groups of a topic that do not lie together
// for damage, and must be able to read what is written as long as they may come back.
constexpr uint32_t kInterleavedLevel = 2;
// Far more than are deleted while one client tries again.
constexpr size_t kDeletionsRemembered = 1000;
constexpr size_t kDeletedNamesRemembered = 1000;

Status DoesNotFollow(const std::string& what) {
  return DataLoss("a controller's record does not follow from those before it: " + what);
}

// What a later version may write within a level that this one knows.
Status CheckUnderstood(const TopicCreated& created) {
  const bool is_coordinator = created.kind() == TopicCreated::KIND_COORDINATOR;
  if (created.kind() != TopicCreated::KIND_PARTITION_LOG && !is_coordinator) {
    return Unimplemented("topic \"" + created.name() + "\" is of kind " +
                         std::to_string(static_cast<int>(created.kind())) +
                         ", which this version does not know");
  }
  if (is_coordinator != (created.slot_count() != 0)) {
    return Unimplemented("topic \"" + created.name() + "\" of kind " +
                         std::to_string(static_cast<int>(created.kind())) + " has " +
                         std::to_string(created.slot_count()) +
                         " slots, which this version does not know");
  }
  return {};
}

TopicKind KindOf(const TopicCreated& created) {
  return created.kind() == TopicCreated::KIND_COORDINATOR ? TopicKind::kCoordinator
                                                          : TopicKind::kPartitionLog;
}

Status CheckKnowsLevel(uint32_t level) {
  if (level <= KnownFeatureLevel()) return {};
  return Unimplemented("the cluster is of feature level " + std::to_string(level) +
                       ", and this build knows " + std::to_string(KnownFeatureLevel()));
}

// The replicas as they were placed, each with a number of its own on a broker of its own.
Result<PartitionInfo> PartitionOf(const PartitionPlacement& placement) {
  PartitionInfo partition{.partition = PartitionId(placement.partition()),
                          .group = RaftGroupId(placement.group_id()),
                          .replicas = {},
                          .next_number = ReplicaNumber(placement.next_replica_number()),
                          .first_configuration_stands = placement.first_configuration_stands(),
                          .first_offset = Offset(placement.first_offset())};
  uint32_t largest = 0;
  std::set<uint32_t> numbers;
  std::set<uint32_t> brokers;
  for (const auto& replica : placement.replicas()) {
    const bool is_number = replica.number() > 0 && replica.number() < kReplicaNumberEnd;
    if (!is_number || !numbers.insert(replica.number()).second ||
        !brokers.insert(replica.broker_id()).second) {
      return DoesNotFollow("replica " + std::to_string(replica.number()) + " on broker " +
                           std::to_string(replica.broker_id()));
    }
    largest = std::max(largest, replica.number());
    partition.replicas.push_back({BrokerId(replica.broker_id()), Incarnation(replica.incarnation()),
                                  ReplicaNumber(replica.number())});
  }
  if (partition.next_number == ReplicaNumber()) partition.next_number = ReplicaNumber(largest + 1);
  if (partition.replicas.empty() || partition.next_number.value() <= largest) {
    return DoesNotFollow("replicas up to number " + std::to_string(largest) + ", and " +
                         std::to_string(placement.next_replica_number()) + " is next");
  }
  return partition;
}

// The partitions as they were placed; DATA_LOSS if their numbers do not go on from `first`, or
// their groups do not ascend from `next_group`.
template <typename Record>
Result<std::vector<PartitionInfo>> PartitionsOf(const Record& record, const std::string& topic,
                                                size_t first, RaftGroupId next_group) {
  std::vector<PartitionInfo> partitions;
  for (const auto& placement : record.partitions()) {
    const std::string name = "topic \"" + topic + "\", partition " +
                             std::to_string(placement.partition()) + ", group " +
                             std::to_string(placement.group_id());
    Result<PartitionInfo> partition = PartitionOf(placement);
    if (!partition.ok()) return partition.status().With(name);
    const bool is_next = partition->partition.value() == first + partitions.size();
    if (!is_next || partition->group < next_group) {
      return DoesNotFollow(name);
    }
    next_group = RaftGroupId(partition->group.value() + 1);
    partitions.push_back(std::move(*partition));
  }
  return partitions;
}

}  // namespace

Status CheckUnderstood(const BrokerRegistered& registered) {
  for (const BrokerRegistered::Endpoint& endpoint : registered.endpoints()) {
    const bool is_known = endpoint.protocol() == BrokerRegistered::PROTOCOL_CLIENTS ||
                          endpoint.protocol() == BrokerRegistered::PROTOCOL_INTERNAL;
    if (is_known) continue;
    return Unimplemented("broker " + std::to_string(registered.broker_id()) +
                         " has an endpoint of protocol " +
                         std::to_string(static_cast<int>(endpoint.protocol())) +
                         ", which this version does not know");
  }
  return {};
}

const std::string& ClientAddressOf(const BrokerInfo& broker) {
  static const std::string kNone;
  for (const BrokerRegistered::Endpoint& endpoint : broker.registration.endpoints()) {
    if (endpoint.protocol() == BrokerRegistered::PROTOCOL_CLIENTS) return endpoint.address();
  }
  return kNone;
}

Status Image::Apply(const internal::v1::ControllerRecord& record) {
  using Record = internal::v1::ControllerRecord;
  switch (record.record_case()) {
    case Record::kBrokerRegistered:
      return ApplyBroker(record.broker_registered());
    case Record::kTopicCreated:
      return ApplyTopicCreated(record.topic_created());
    case Record::kTopicAltered:
      return ApplyTopicAltered(record.topic_altered());
    case Record::kPartitionsAdded:
      return ApplyPartitionsAdded(record.partitions_added());
    case Record::kTopicDeleted:
      return ApplyTopicDeleted(record.topic_deleted());
    case Record::kProducerIdsAllocated:
      return ApplyProducerIds(record.producer_ids_allocated());
    case Record::kProducerIdKeyDrawn:
      return ApplyProducerIdKey(record.producer_id_key_drawn().key());
    case Record::kLevelRaised:
      return ApplyLevel(record.level_raised().level());
    case Record::RECORD_NOT_SET:
      break;
  }
  return Unimplemented("the controller's log holds a record that this version does not know");
}

Status Image::ApplyBroker(const BrokerRegistered& registered) {
  RETURN_IF_ERROR(CheckUnderstood(registered));
  const BrokerId id(registered.broker_id());
  BrokerInfo broker{
      .id = id, .incarnation = Incarnation(registered.incarnation()), .registration = registered};
  if (const BrokerInfo* known = FindBroker(id)) {
    const auto& supersedes = registered.supersedes();
    const bool does_replace = std::find(supersedes.begin(), supersedes.end(),
                                        known->incarnation.value()) != supersedes.end();
    if (known->incarnation != broker.incarnation && !does_replace) {
      return DoesNotFollow("broker " + std::to_string(id.value()) +
                           " has another incarnation, and does not supersede the one before");
    }
    *broker.registration.mutable_supersedes() = known->registration.supersedes();
    broker.registration.mutable_supersedes()->MergeFrom(supersedes);
  }
  brokers_.Mutable()[id] = std::move(broker);
  return {};
}

Status Image::ApplyProducerIds(const internal::v1::ProducerIdsAllocated& allocated) {
  if (allocated.end() < next_producer_number_) {
    return DoesNotFollow("producer ids of numbers below " + std::to_string(allocated.end()));
  }
  next_producer_number_ = allocated.end();
  return {};
}

Status Image::ApplyLevel(uint32_t level) {
  if (level <= level_) {
    return DoesNotFollow("feature level " + std::to_string(level) + " after " +
                         std::to_string(level_));
  }
  RETURN_IF_ERROR(CheckKnowsLevel(level));
  level_ = level;
  return {};
}

uint8_t Image::entry_level() const {
  return std::max(kFirstFeatureLevel, static_cast<uint8_t>(level_));
}

Status Image::ApplyProducerIdKey(const std::string& key) {
  if (!producer_id_key_.empty() || key.size() != kProducerIdKeyBytes) {
    return DoesNotFollow("a key of producer ids, which are given out under another, or its length");
  }
  producer_id_key_ = key;
  return {};
}

Status Image::ApplyTopicAltered(const internal::v1::TopicAltered& altered) {
  const TopicId id(altered.topic_id());
  const TopicInfo* topic = FindTopic(id);
  if (topic == nullptr) {
    return DoesNotFollow("topic " + std::to_string(id.value()) + " is altered, and is not there");
  }
  MILLRACE_SOMETIMES("a topic was altered");
  TopicInfo changed = *topic;
  changed.settings = {altered.settings().begin(), altered.settings().end()};
  topics_.Mutable()[id] = std::make_shared<const TopicInfo>(std::move(changed));
  return {};
}

Status Image::ApplyPartitionsAdded(const PartitionsAdded& added) {
  const TopicId id(added.topic_id());
  const TopicInfo* topic = FindTopic(id);
  if (topic == nullptr || added.partitions().empty()) {
    return DoesNotFollow("topic " + std::to_string(id.value()) + " gets " +
                         std::to_string(added.partitions_size()) + " partitions");
  }
  const size_t first = topic->partitions.size();
  ASSIGN_OR_RETURN(std::vector<PartitionInfo> partitions,
                   PartitionsOf(added, topic->name, first, next_group_id_));
  MILLRACE_SOMETIMES("a topic got more partitions");
  TopicInfo changed = *topic;
  std::move(partitions.begin(), partitions.end(), std::back_inserter(changed.partitions));
  changed.grown_by = added.request_id();
  NoteGroups(changed, first);
  topics_.Mutable()[id] = std::make_shared<const TopicInfo>(std::move(changed));
  return {};
}

void Image::NoteGroups(const TopicInfo& topic, size_t first) {
  for (size_t i = first; i < topic.partitions.size(); ++i) {
    const RaftGroupId group = topic.partitions[i].group;
    const bool goes_on = i > 0 && topic.partitions[i - 1].group == RaftGroupId(group.value() - 1);
    if (!goes_on) first_groups_.Mutable().emplace(group, topic.id);
    next_group_id_ = std::max(next_group_id_, RaftGroupId(group.value() + 1));
  }
}

Status Image::ApplyTopicDeleted(const internal::v1::TopicDeleted& deleted) {
  const TopicId id(deleted.topic_id());
  const TopicInfo* topic = FindTopic(id);
  if (topic == nullptr) {
    return DoesNotFollow("topic " + std::to_string(id.value()) + " is deleted, and is not there");
  }
  const uint32_t end = deleted.epoch_end();
  if (end < topic->leader_epoch_base || end > kLeaderEpochMax) {
    return DoesNotFollow("topic " + std::to_string(id.value()) + " ends with the leader epoch " +
                         std::to_string(end));
  }
  for (const PartitionInfo& partition : topic->partitions) {
    first_groups_.Mutable().erase(partition.group);
  }
  RememberEpochEnd(topic->name, end);
  topic_ids_.Mutable().erase(topic->name);
  topics_.Mutable().erase(id);
  if (deleted.request_id() == 0) return {};
  std::deque<Deletion>& deletions = deletions_.Mutable();
  deletions.push_back({.request_id = deleted.request_id(), .topic = id});
  if (deletions.size() > kDeletionsRemembered) deletions.pop_front();
  return {};
}

void Image::RememberEpochEnd(const std::string& name, uint32_t end) {
  auto& names = deleted_names_.Mutable();
  names[name] = end;
  if (names.size() <= kDeletedNamesRemembered) return;
  const auto lowest = std::min_element(
      names.begin(), names.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  deleted_epoch_end_ = std::max(deleted_epoch_end_, lowest->second);
  names.erase(lowest);
}

uint32_t Image::EpochEndOf(std::string_view name) const {
  const auto found = deleted_names_->find(name);
  return std::max(deleted_epoch_end_, found == deleted_names_->end() ? 0 : found->second);
}

TopicId Image::DeletedBy(uint64_t request_id) const {
  for (const Deletion& deletion : *deletions_) {
    if (deletion.request_id == request_id) return deletion.topic;
  }
  return TopicId();
}

Status Image::ApplyTopicCreated(const TopicCreated& created) {
  return AddTopic(created, next_group_id_);
}

Status Image::AddTopic(const TopicCreated& created, RaftGroupId group_min) {
  RETURN_IF_ERROR(CheckUnderstood(created));
  const TopicId id(created.topic_id());
  if (HasMade(id) || topic_ids_->contains(created.name())) {
    return DoesNotFollow("topic \"" + created.name() + "\" is made with the id " +
                         std::to_string(id.value()));
  }
  const uint32_t base = created.leader_epoch_base();
  if (base == 0 || base > kLeaderEpochBaseMax || base <= EpochEndOf(created.name())) {
    return DoesNotFollow("topic \"" + created.name() + "\" begins with the leader epoch " +
                         std::to_string(base));
  }
  ASSIGN_OR_RETURN(std::vector<PartitionInfo> partitions,
                   PartitionsOf(created, created.name(), 0, group_min));
  next_topic_id_ = TopicId(id.value() + 1);
  // Its own end will be larger.
  if (deleted_names_->contains(created.name())) deleted_names_.Mutable().erase(created.name());
  topic_ids_.Mutable().emplace(created.name(), id);
  const auto topic = std::make_shared<const TopicInfo>(
      TopicInfo{.id = id,
                .name = created.name(),
                .kind = KindOf(created),
                .settings = {created.settings().begin(), created.settings().end()},
                .partitions = std::move(partitions),
                .request_id = created.request_id(),
                .grown_by = created.grown_by(),
                .leader_epoch_base = base,
                .slot_count = created.slot_count()});
  NoteGroups(*topic, 0);
  topics_.Mutable().emplace(id, topic);
  return {};
}

// Of what is loaded alone: a record's groups are larger than all there were.
Status Image::CheckGroupsAreOfOneTopic() const {
  for (const auto& [id, topic] : *topics_) {
    for (const PartitionInfo& partition : topic->partitions) {
      if (FindTopicOf(partition.group) == topic.get()) continue;
      return DataLoss("the controller's image has group " +
                      std::to_string(partition.group.value()) + " in two topics");
    }
  }
  return {};
}

void Image::SaveTo(ControllerImage* saved) const {
  saved->set_version(level_ < kInterleavedLevel ? 1 : kImageVersion);
  for (const auto& [id, broker] : *brokers_) *saved->add_brokers() = broker.registration;
  for (const auto& [id, topic] : *topics_) {
    auto& created = *saved->add_topics();
    created.set_topic_id(id.value());
    created.set_name(topic->name);
    created.mutable_settings()->insert(topic->settings.begin(), topic->settings.end());
    created.set_request_id(topic->request_id);
    created.set_grown_by(topic->grown_by);
    created.set_kind(topic->kind == TopicKind::kCoordinator ? TopicCreated::KIND_COORDINATOR
                                                            : TopicCreated::KIND_PARTITION_LOG);
    created.set_slot_count(topic->slot_count);
    created.set_leader_epoch_base(topic->leader_epoch_base);
    for (const PartitionInfo& partition : topic->partitions) {
      auto& placement = *created.add_partitions();
      placement.set_partition(partition.partition.value());
      placement.set_group_id(partition.group.value());
      placement.set_first_configuration_stands(partition.first_configuration_stands);
      placement.set_first_offset(partition.first_offset.value());
      placement.set_next_replica_number(partition.next_number.value());
      for (const Voter& voter : partition.replicas) {
        auto& replica = *placement.add_replicas();
        replica.set_broker_id(voter.broker.value());
        replica.set_incarnation(voter.incarnation.value());
        replica.set_number(voter.number.value());
      }
    }
  }
  for (const Deletion& deletion : *deletions_) {
    auto& deleted = *saved->add_deletions();
    deleted.set_topic_id(deletion.topic.value());
    deleted.set_request_id(deletion.request_id);
  }
  saved->set_next_topic_id(next_topic_id_.value());
  saved->set_next_group_id(next_group_id_.value());
  saved->set_next_producer_number(next_producer_number_);
  saved->set_producer_id_key(producer_id_key_);
  saved->set_applied_index(applied_index_.value());
  saved->set_level(level_);
  for (const auto& [name, end] : *deleted_names_) {
    auto& deleted = *saved->add_deleted_names();
    deleted.set_name(name);
    deleted.set_epoch_end(end);
  }
  saved->set_deleted_epoch_end(deleted_epoch_end_);
}

Result<Image> Image::LoadFrom(const ControllerImage& saved) {
  if (saved.version() == 0) return DataLoss("the controller's image has no version");
  if (saved.version() > kImageVersion) {
    return Unimplemented("the controller's image is of version " + std::to_string(saved.version()) +
                         ", and this build knows " + std::to_string(kImageVersion));
  }
  RETURN_IF_ERROR(CheckKnowsLevel(saved.level()));
  Image image;
  image.level_ = saved.level();
  for (const auto& broker : saved.brokers()) RETURN_IF_ERROR(image.ApplyBroker(broker));
  // What is gone made the numbers larger than those of what is left.
  for (const TopicCreated& topic : saved.topics()) {
    RETURN_IF_ERROR(image.AddTopic(topic, image.level_ < kInterleavedLevel
                                              ? image.next_group_id_
                                              : RaftGroupId(kControllerGroup.value() + 1)));
  }
  RETURN_IF_ERROR(image.CheckGroupsAreOfOneTopic());
  if (saved.next_topic_id() < image.next_topic_id_.value() ||
      saved.next_group_id() < image.next_group_id_.value() ||
      saved.next_producer_number() < image.next_producer_number_) {
    return DataLoss("the controller's image would give a number out twice");
  }
  image.next_topic_id_ = TopicId(saved.next_topic_id());
  image.next_group_id_ = RaftGroupId(saved.next_group_id());
  image.next_producer_number_ = saved.next_producer_number();
  if (!saved.producer_id_key().empty()) {
    RETURN_IF_ERROR(image.ApplyProducerIdKey(saved.producer_id_key()));
  }
  for (const auto& deletion : saved.deletions()) {
    image.deletions_.Mutable().push_back(
        {.request_id = deletion.request_id(), .topic = TopicId(deletion.topic_id())});
  }
  image.applied_index_ = LogIndex(saved.applied_index());
  // After the topics: one may have been made before another name's end was forgotten.
  for (const auto& name : saved.deleted_names()) {
    image.deleted_names_.Mutable()[name.name()] = name.epoch_end();
  }
  image.deleted_epoch_end_ = saved.deleted_epoch_end();
  return image;
}

Status Image::NoteApplied(LogIndex index) {
  if (index <= applied_index_) {
    return DoesNotFollow("the image is of entry " + std::to_string(applied_index_.value()) +
                         " already");
  }
  applied_index_ = index;
  return {};
}

const Voter* PartitionInfo::FindReplica(const BrokerIncarnation& holder) const {
  const auto found = std::find_if(replicas.begin(), replicas.end(),
                                  [&](const Voter& replica) { return replica.holder() == holder; });
  return found == replicas.end() ? nullptr : &*found;
}

const TopicInfo* Image::FindTopic(std::string_view name) const {
  const auto found = topic_ids_->find(name);
  return found == topic_ids_->end() ? nullptr : FindTopic(found->second);
}

const TopicInfo* Image::FindTopic(TopicId id) const {
  const auto found = topics_->find(id);
  return found == topics_->end() ? nullptr : found->second.get();
}

const TopicInfo* Image::FindTopicOf(RaftGroupId group) const {
  const auto after = first_groups_->upper_bound(group);
  if (after == first_groups_->begin()) return nullptr;
  const TopicInfo* topic = FindTopic(std::prev(after)->second);
  const bool is_its =
      std::ranges::binary_search(topic->partitions, group, {}, &PartitionInfo::group);
  return is_its ? topic : nullptr;
}

const BrokerInfo* Image::FindBroker(BrokerId id) const {
  const auto found = brokers_->find(id);
  return found == brokers_->end() ? nullptr : &found->second;
}

size_t Image::topic_count() const {
  return static_cast<size_t>(std::ranges::count_if(
      *topics_, [](const auto& topic) { return !topic.second->is_internal(); }));
}

size_t Image::partition_count() const {
  size_t count = 0;
  for (const auto& [id, topic] : *topics_) {
    if (!topic->is_internal()) count += topic->partitions.size();
  }
  return count;
}

raft::ReplicaRecord RecordOf(const TopicInfo& topic, const PartitionInfo& partition,
                             const Voter& self) {
  raft::ReplicaRecord record;
  record.group = partition.group;
  record.number = self.number;
  record.kind = topic.kind == TopicKind::kCoordinator ? raft::ReplicaKind::kCoordinator
                                                      : raft::ReplicaKind::kPartition;
  record.leader_epoch_base = topic.leader_epoch_base;
  record.partition = {.topic = topic.id, .partition = partition.partition};
  record.configuration.voters = partition.replicas;
  std::sort(record.configuration.voters.begin(), record.configuration.voters.end());
  return record;
}

Status CheckLevel(const Image& image, uint8_t level, std::string_view what) {
  if (image.level() >= level) return {};
  return FailedPrecondition(std::string(what) +
                            " once every broker of the cluster is of a version that knows of it: "
                            "the cluster is of feature level " +
                            std::to_string(image.level()) + ", and it takes " +
                            std::to_string(level));
}

}  // namespace millrace::broker

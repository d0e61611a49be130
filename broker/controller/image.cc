#include "broker/controller/image.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

// Far more than are deleted while one client tries again.
constexpr size_t kDeletionsRemembered = 1000;

}  // namespace

void Image::Apply(const internal::v1::ControllerRecord& record) {
  using Record = internal::v1::ControllerRecord;
  switch (record.record_case()) {
    case Record::kBrokerRegistered: {
      const auto& registered = record.broker_registered();
      const BrokerId id(registered.broker_id());
      brokers_[id] = {.id = id,
                      .incarnation = Incarnation(registered.incarnation()),
                      .client_address = registered.client_address()};
      return;
    }
    case Record::kTopicCreated:
      ApplyTopicCreated(record.topic_created());
      return;
    case Record::kTopicDeleted:
      ApplyTopicDeleted(record.topic_deleted());
      return;
    case Record::kProducerIdsAllocated:
      CHECK_GE(record.producer_ids_allocated().end(), next_producer_id_.value());
      next_producer_id_ = ProducerId(record.producer_ids_allocated().end());
      return;
    case Record::RECORD_NOT_SET:
      LOG(FATAL) << "the controller's log holds a record that this version does not know";
  }
}

void Image::ApplyTopicDeleted(const internal::v1::TopicDeleted& deleted) {
  const TopicId id(deleted.topic_id());
  auto found = topics_.find(id);
  CHECK(found != topics_.end()) << "topic_id=" << id;
  topic_ids_.erase(found->second.name);
  topics_.erase(found);
  if (deleted.request_id() == 0) return;
  deletions_.push_back({.request_id = deleted.request_id(), .topic = id});
  if (deletions_.size() > kDeletionsRemembered) deletions_.pop_front();
}

TopicId Image::DeletedBy(uint64_t request_id) const {
  for (const Deletion& deletion : deletions_) {
    if (deletion.request_id == request_id) return deletion.topic;
  }
  return TopicId();
}

void Image::ApplyTopicCreated(const internal::v1::TopicCreated& created) {
  TopicInfo topic{.id = TopicId(created.topic_id()),
                  .name = created.name(),
                  .settings = {created.settings().begin(), created.settings().end()},
                  .partitions = {},
                  .request_id = created.request_id()};
  CHECK_GE(topic.id, next_topic_id_);
  CHECK(!topic_ids_.contains(topic.name)) << "topic=" << topic.name;
  next_topic_id_ = TopicId(topic.id.value() + 1);
  for (const auto& placement : created.partitions()) {
    PartitionInfo partition{.partition = PartitionId(placement.partition()),
                            .group = RaftGroupId(placement.group_id()),
                            .replicas = {}};
    CHECK_EQ(partition.partition.value(), topic.partitions.size());
    CHECK_GE(partition.group, next_group_id_);
    next_group_id_ = RaftGroupId(partition.group.value() + 1);
    for (const auto& replica : placement.replicas()) {
      partition.replicas.push_back(
          {BrokerId(replica.broker_id()), Incarnation(replica.incarnation())});
    }
    topic.partitions.push_back(std::move(partition));
  }
  topic_ids_.emplace(topic.name, topic.id);
  topics_.emplace(topic.id, std::move(topic));
}

const TopicInfo* Image::FindTopic(std::string_view name) const {
  auto found = topic_ids_.find(name);
  return found == topic_ids_.end() ? nullptr : FindTopic(found->second);
}

const TopicInfo* Image::FindTopic(TopicId id) const {
  auto found = topics_.find(id);
  return found == topics_.end() ? nullptr : &found->second;
}

const BrokerInfo* Image::FindBroker(BrokerId id) const {
  auto found = brokers_.find(id);
  return found == brokers_.end() ? nullptr : &found->second;
}

size_t Image::partition_count() const {
  size_t count = 0;
  for (const auto& [id, topic] : topics_) count += topic.partitions.size();
  return count;
}

raft::ReplicaRecord RecordOf(const TopicInfo& topic, const PartitionInfo& partition) {
  raft::ReplicaRecord record{.group = partition.group,
                             .partition = {.topic = topic.id, .partition = partition.partition},
                             .configuration = {}};
  record.configuration.voters = partition.replicas;
  std::sort(record.configuration.voters.begin(), record.configuration.voters.end());
  return record;
}

}  // namespace millrace::broker

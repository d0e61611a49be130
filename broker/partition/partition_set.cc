#include "broker/partition/partition_set.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/config/topic_settings.h"
#include "proto/base/coverage.h"

namespace millrace::broker {

Partition* PartitionSet::Emplace(RaftGroupId group, TopicPartition name) {
  auto partition = std::make_unique<Partition>(group, name, environment_);
  partition->SetLeadershipListener([this, group](const raft::Leadership& leadership) {
    if (listener_) listener_(group, leadership);
  });
  topics_[name.topic].groups.insert(group);
  return partitions_.emplace(group, std::move(partition)).first->second.get();
}

void PartitionSet::AddRecovered(raft::RecoveredReplica recovered) {
  const RaftGroupId group = recovered.record.group;
  Partition* partition = Emplace(group, recovered.record.partition);
  environment_.host.AddReplica(std::move(recovered), *partition);
}

void PartitionSet::ReconcileAll(const Image& image) {
  std::set<TopicId> topics;
  for (const auto& [id, topic] : image.topics()) topics.insert(id);
  for (const auto& [id, held] : topics_) topics.insert(id);
  for (const TopicId topic : topics) Reconcile(image, topic);
}

void PartitionSet::Reconcile(const Image& image, TopicId topic) {
  if (const TopicInfo* info = image.FindTopic(topic)) {
    Hold(*info);
  } else if (image.HasMade(topic)) {
    Remove(topic, LogIndex());
  } else {
    MILLRACE_SOMETIMES_IF("an image was older than a replica", topics_.contains(topic));
  }
}

void PartitionSet::Hold(const TopicInfo& topic) {
  const uint32_t batch_bytes_max = config::TopicSettings(topic.settings).batch_bytes_max;
  for (const PartitionInfo& info : topic.partitions) {
    const auto self =
        std::find_if(info.replicas.begin(), info.replicas.end(),
                     [this](const Voter& replica) { return replica.holder() == self_; });
    if (self == info.replicas.end()) continue;
    Partition* partition = Find(info.group);
    if (partition == nullptr && !environment_.store.MayCreate({info.group, self->number})) continue;
    if (partition == nullptr) {
      partition = Emplace(info.group, {.topic = topic.id, .partition = info.partition});
      environment_.host.CreateReplica(RecordOf(topic, info, *self), *self == info.replicas.front(),
                                      *partition);
    }
    partition->set_batch_bytes_max(batch_bytes_max);
    topics_[topic.id].name = topic.name;
  }
}

void PartitionSet::Remove(TopicId topic, LogIndex controller_index) {
  const auto held = topics_.extract(topic);
  if (held.empty()) return;
  for (const RaftGroupId group : held.mapped().groups) {
    auto found = partitions_.find(group);
    environment_.host.RemoveReplica(group, controller_index, [] {});
    partitions_.erase(found);
  }
  // One line, however many partitions: deleting is ordinary.
  LOG(INFO) << "topic deleted topic=" << held.mapped().name << " topic_id=" << topic
            << " replicas_here=" << held.mapped().groups.size();
}

Partition* PartitionSet::Find(RaftGroupId group) const {
  auto found = partitions_.find(group);
  return found == partitions_.end() ? nullptr : found->second.get();
}

}  // namespace millrace::broker

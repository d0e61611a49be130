#include "broker/replicas/replica_set.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "broker/config/topic_settings.h"
#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

// Retention lets go whole segments: what it keeps too long is bound by how large and old they get.
constexpr uint64_t kSegmentsKept = 4;

RetentionLimits RetentionOf(const config::TopicSettings& settings) {
  if (!settings.expires()) return {};
  return {.bytes = settings.retention_bytes, .time_ms = settings.retention_time};
}

raft::RollLimits RollLimitsOf(const TopicInfo& topic, const config::TopicSettings& settings) {
  const RetentionLimits retention = RetentionOf(settings);
  return {// Else the server's flag.
          .bytes = topic.settings.contains("segment_bytes") ? settings.segment_bytes : 0,
          .bytes_max = retention.bytes / kSegmentsKept,
          .age = std::chrono::milliseconds(
              std::min(settings.segment_time, retention.time_ms / kSegmentsKept))};
}

CompactionSettings CompactionOf(const config::TopicSettings& settings) {
  return {.is_compacted = settings.is_compacted(),
          .expires = settings.expires(),
          .tombstone_retention_ms = settings.tombstone_retention,
          .dirty_ratio_min_ppm = settings.dirty_ratio_min,
          .compaction_lag_min_ms = settings.compaction_lag_min};
}

}  // namespace

ReplicaSet::ReplicaSet(raft::Host& host, const Partition::Environment& environment,
                       CoordinatorMemory& coordinator_memory, Executor& executor,
                       const CompactorOptions& compaction, const BrokerIncarnation& self,
                       Random random)
    : host_(&host),
      environment_(environment),
      self_(self),
      shard_environment_{executor, environment.clock, environment.image, coordinator_memory},
      compactor_({.executor = executor,
                  .clock = environment.clock,
                  .store = environment.store,
                  .batches = environment.batches,
                  .name_of = [&host](RaftGroupId group) { return host.Find(group)->Name(); }},
                 compaction, random, [this](const raft::ReplicaId& replica) {
                   if (Partition* partition = Find(replica.group)) partition->OnPassDone();
                   OfferPasses();
                 }) {}

raft::StateMachine& ReplicaSet::Emplace(const raft::ReplicaRecord& record) {
  const RaftGroupId group = record.group;
  const auto tell = [this, group](const raft::Leadership& leadership) {
    if (listener_) listener_(group, leadership);
  };
  topics_[record.partition.topic].groups.insert(group);
  if (record.kind == raft::ReplicaKind::kCoordinator) {
    auto shard = std::make_unique<CoordinatorShard>(group, shard_environment_);
    shard->SetLeadershipListener(tell);
    shard->SetChangeListener([this, group](const CoordinatorShard::Changes& changes) {
      if (change_listener_) change_listener_(group, changes);
    });
    return *shards_.emplace(group, std::move(shard)).first->second;
  }
  CHECK(record.kind == raft::ReplicaKind::kPartition) << "group=" << group;
  auto partition = std::make_unique<Partition>(group, record.partition, environment_);
  partition->set_leader_epoch_base(record.leader_epoch_base);
  partition->SetLeadershipListener(tell);
  return *partitions_.emplace(group, std::move(partition)).first->second;
}

void ReplicaSet::AddRecovered(raft::RecoveredReplica recovered) {
  raft::StateMachine& machine = Emplace(recovered.record);
  host_->AddReplica(std::move(recovered), machine);
}

// An image that has not applied what replicas here rest on may lack their topics, or have them
// still. Once it has, all of it is held against what is here.
bool ReplicaSet::IsTooOld(const Image& image) {
  if (image.applied_index() >= environment_.store.controller_floor()) return false;
  MILLRACE_SOMETIMES("an image was older than a replica");
  is_image_behind_ = true;
  return true;
}

void ReplicaSet::ReconcileAll(const Image& image) {
  if (IsTooOld(image)) return;
  is_image_behind_ = false;
  std::set<TopicId> topics;
  for (const auto& [id, topic] : image.topics()) topics.insert(id);
  for (const auto& [id, held] : topics_) topics.insert(id);
  for (const TopicId topic : topics) ReconcileTopic(image, topic);
}

void ReplicaSet::Reconcile(const Image& image, TopicId topic) {
  if (IsTooOld(image)) return;
  if (is_image_behind_) return ReconcileAll(image);
  if (topic != TopicId()) ReconcileTopic(image, topic);
}

void ReplicaSet::ReconcileTopic(const Image& image, TopicId topic) {
  if (const TopicInfo* info = image.FindTopic(topic)) {
    Hold(*info, image.applied_index());
  } else if (image.HasMade(topic)) {
    Remove(topic, image.applied_index());
  }
}

bool ReplicaSet::MayBegin(const PartitionInfo& info, ReplicaNumber number) const {
  return info.first_configuration_stands && environment_.store.MayCreate({info.group, number});
}

bool ReplicaSet::HoldReplica(const TopicInfo& topic, const PartitionInfo& info,
                             LogIndex controller_index) {
  const Voter* self = info.FindReplica(self_);
  if (self == nullptr) return false;
  if (Holds(info.group)) return true;
  if (!MayBegin(info, self->number)) return false;
  raft::ReplicaRecord record = RecordOf(topic, info, *self);
  record.controller_index = controller_index;
  host_->CreateReplica(record, *self == info.replicas.front(), Emplace(record));
  return true;
}

void ReplicaSet::Hold(const TopicInfo& topic, LogIndex controller_index) {
  const config::TopicSettings settings(topic.settings);
  const raft::RollLimits rolls = RollLimitsOf(topic, settings);
  const Partition::Settings kept{.batch_bytes_max = static_cast<uint32_t>(settings.batch_bytes_max),
                                 .is_protected = settings.is_protected != 0,
                                 .retention = RetentionOf(settings),
                                 .compaction = CompactionOf(settings)};
  for (const PartitionInfo& info : topic.partitions) {
    if (!HoldReplica(topic, info, controller_index)) continue;
    topics_[topic.id].name = topic.name;
    Partition* partition = Find(info.group);
    if (partition == nullptr) continue;
    partition->set_leader_epoch_base(topic.leader_epoch_base);
    partition->set_settings(kept);
    environment_.store.SetRollLimits(info.group, rolls);
  }
}

void ReplicaSet::Remove(TopicId topic, LogIndex controller_index) {
  const auto held = topics_.extract(topic);
  if (held.empty()) return;
  for (const RaftGroupId group : held.mapped().groups) {
    compactor_.Forget(group);
    host_->RemoveReplica(group, controller_index, [] {});
    partitions_.erase(group);
    shards_.erase(group);
  }
  // One line, however many partitions: deleting is ordinary.
  LOG(INFO) << "topic deleted topic=" << held.mapped().name << " topic_id=" << topic
            << " replicas_here=" << held.mapped().groups.size();
}

void ReplicaSet::Tend(std::optional<int64_t> wall_ms) {
  for (const auto& [group, partition] : partitions_) partition->Tend(wall_ms);
  for (const auto& [group, shard] : shards_) {
    shard->Tend(wall_ms);
    environment_.store.SetRollLimits(group, {.bytes = shard->segment_bytes()});
  }
  OfferPasses();
}

void ReplicaSet::OfferPasses() {
  auto next = partitions_.upper_bound(last_offered_);
  for (size_t i = 0; i < partitions_.size() && !compactor_.is_busy(); ++i, ++next) {
    if (next == partitions_.end()) next = partitions_.begin();
    const auto& [group, partition] = *next;
    if (partition->compaction().pass == 0) continue;
    compactor_.Offer({.replica = host_->Find(group)->id(),
                      .name = partition->name(),
                      .state = partition->compaction(),
                      .decided_by = partition->compaction_decided_by()});
    last_offered_ = group;
  }
}

std::optional<CompactionProgress> ReplicaSet::ProgressOf(RaftGroupId group) const {
  const Partition* partition = Find(group);
  if (partition == nullptr || partition->compaction().pass == 0) return std::nullopt;
  return CompactionProgress{.pass_done = partition->passes_done(),
                            .pass_decided = partition->compaction().pass,
                            .clean_to = partition->compaction().clean_to,
                            .is_under_way = compactor_.IsCompacting(group),
                            .failure = compactor_.FailureOf(group)};
}

Partition* ReplicaSet::Find(RaftGroupId group) const {
  auto found = partitions_.find(group);
  return found == partitions_.end() ? nullptr : found->second.get();
}

CoordinatorShard* ReplicaSet::FindShard(RaftGroupId group) const {
  auto found = shards_.find(group);
  return found == shards_.end() ? nullptr : found->second.get();
}

}  // namespace millrace::broker

#include "broker/routing/cluster_view.h"

#include <algorithm>
#include <string>
#include <utility>

#include "broker/coordinator/requests.h"
#include "broker/coordinator/slot.h"

namespace millrace::broker {

Status ClusterView::CheckKnowsTopics() const {
  if (knowledge_.is_current()) return Status::Ok();
  RETURN_IF_ERROR(controller_health());
  return Unavailable("this broker is starting and does not know all topics yet",
                     Reason::kNotInitialized);
}

Result<const TopicInfo*> ClusterView::FindCoordinator() const {
  if (const TopicInfo* topic = image_->FindTopic(kCoordinatorTopic)) return topic;
  RETURN_IF_ERROR(CheckKnowsTopics());
  return Unavailable(
      "the coordinator of groups is made once enough brokers have joined the cluster, all of a "
      "version that knows it",
      Reason::kNotInitialized);
}

Result<ClusterView::GroupPlace> ClusterView::FindGroup(std::string_view id) const {
  RETURN_IF_ERROR(CheckId(id, "group"));
  ASSIGN_OR_RETURN(const TopicInfo* coordinator, FindCoordinator());
  const uint32_t slot = SlotOf(id);
  return GroupPlace{.slot = slot,
                    .shard = &ShardOf(*coordinator, slot),
                    .leader_epoch_base = coordinator->leader_epoch_base};
}

Result<const TopicInfo*> ClusterView::FindTopic(std::string_view name, TopicId id) const {
  const TopicInfo* topic = name.empty() ? image_->FindTopic(id) : image_->FindTopic(name);
  if (topic != nullptr) return topic;
  RETURN_IF_ERROR(CheckKnowsTopics());
  if (!name.empty()) {
    return NotFound("topic \"" + std::string(name) + "\" does not exist", Reason::kUnknownTopic);
  }
  if (id == TopicId()) return InvalidArgument("neither topic nor topic_id is set");
  return NotFound("topic_id " + std::to_string(id.value()) + " does not exist",
                  Reason::kUnknownTopic);
}

Result<const TopicInfo*> ClusterView::FindLog(std::string_view name, TopicId id) const {
  ASSIGN_OR_RETURN(const TopicInfo* topic, FindTopic(name, id));
  if (!topic->is_internal()) return topic;
  return InvalidArgument("topic \"" + topic->name +
                         "\" is Millrace's own: it has no records for clients");
}

Result<const PartitionInfo*> ClusterView::FindPartition(const PartitionName& name) const {
  ASSIGN_OR_RETURN(const TopicInfo* topic, FindLog(name.topic, name.topic_id));
  if (name.partition.value() < topic->partitions.size()) {
    return &topic->partitions[name.partition.value()];
  }
  // The topic may have got it since.
  RETURN_IF_ERROR(CheckKnowsTopics());
  return NotFound("topic \"" + topic->name + "\" has no partition " +
                      std::to_string(name.partition.value()) + ", only 0 to " +
                      std::to_string(topic->partitions.size() - 1),
                  Reason::kUnknownPartition);
}

std::optional<LeaderEpoch> ClusterView::EpochOf(RaftGroupId group, Term term) const {
  if (group == kControllerGroup) return LeaderEpochOf(0, term);
  const TopicInfo* topic = image_->FindTopicOf(group);
  if (topic == nullptr) return std::nullopt;
  return LeaderEpochOf(topic->leader_epoch_base, term);
}

std::string ClusterView::NameOf(RaftGroupId group) const {
  if (group == kControllerGroup) return "the controller";
  const TopicInfo* topic = image_->FindTopicOf(group);
  if (topic == nullptr) return "a partition that is not known here";
  const auto partition =
      std::ranges::lower_bound(topic->partitions, group, {}, &PartitionInfo::group);
  return "partition " + std::to_string(partition->partition.value()) + " of topic \"" +
         topic->name + "\"";
}

Status ClusterView::NotLeader(RaftGroupId group) const {
  return WithLeader(Unavailable("not the leader", Reason::kNotLeader), group);
}

Status ClusterView::WithLeader(Status status, RaftGroupId group) const {
  if (status.reason() != Reason::kNotLeader) return status;
  const bool has_leader =
      std::any_of(status.metadata().begin(), status.metadata().end(),
                  [](const auto& pair) { return pair.first == "leader_address"; });
  if (has_leader) return status;
  const LeaderHint hint = LeaderOf(group);
  const BrokerInfo* broker = image_->FindBroker(hint.leader);
  if (broker == nullptr) {
    Status named(status.code(), NameOf(group) + " has no leader that is known here at the moment",
                 Reason::kNotLeader);
    for (const auto& [key, value] : status.metadata()) named.AddMetadata(key, value);
    return named;
  }
  Status named(status.code(),
               NameOf(group) + ": its leader is broker " + std::to_string(hint.leader.value()),
               Reason::kNotLeader);
  named.AddMetadata("leader_id", std::to_string(hint.leader.value()));
  named.AddMetadata("leader_address", ClientAddressOf(*broker));
  if (const std::optional<LeaderEpoch> epoch = EpochOf(group, hint.term)) {
    named.AddMetadata("leader_epoch", std::to_string(epoch->value()));
  }
  return named;
}

void ClusterView::NotifyImageChanged() {
  std::vector<Task> listeners = std::exchange(image_listeners_, {});
  for (Task& listener : listeners) listener();
  // Whoever is told may end watches, its own too, or begin others.
  std::vector<uint64_t> watches;
  watches.reserve(image_watches_.size());
  for (const auto& [watch, on_change] : image_watches_) watches.push_back(watch);
  for (const uint64_t watch : watches) {
    const auto found = image_watches_.find(watch);
    if (found == image_watches_.end()) continue;
    const std::function<void()> on_change = found->second;
    on_change();
  }
}

uint64_t ClusterView::WatchImage(std::function<void()> on_change) {
  image_watches_.emplace(next_watch_, std::move(on_change));
  return next_watch_++;
}

}  // namespace millrace::broker

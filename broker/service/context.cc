#include "broker/service/context.h"

#include <algorithm>
#include <utility>

#include "broker/config/topic_settings.h"

namespace millrace::broker {

Status ServiceContext::CheckKnowsTopics() const {
  if (is_ready()) return Status::Ok();
  RETURN_IF_ERROR(controller_health());
  return Unavailable("this broker is starting and does not know all topics yet",
                     Reason::kNotInitialized);
}

Result<const TopicInfo*> ServiceContext::FindTopic(std::string_view name, TopicId id) const {
  const TopicInfo* topic = name.empty() ? image().FindTopic(id) : image().FindTopic(name);
  if (topic != nullptr) return topic;
  RETURN_IF_ERROR(CheckKnowsTopics());
  if (!name.empty()) {
    return NotFound("topic \"" + std::string(name) + "\" does not exist", Reason::kUnknownTopic);
  }
  if (id == TopicId()) return InvalidArgument("neither topic nor topic_id is set");
  return NotFound("topic_id " + std::to_string(id.value()) + " does not exist",
                  Reason::kUnknownTopic);
}

Result<const PartitionInfo*> ServiceContext::FindPartition(const PartitionName& name) const {
  ASSIGN_OR_RETURN(const TopicInfo* topic, FindTopic(name.topic, name.topic_id));
  if (name.partition.value() < topic->partitions.size()) {
    return &topic->partitions[name.partition.value()];
  }
  return NotFound("topic \"" + topic->name + "\" has no partition " +
                      std::to_string(name.partition.value()) + ", only 0 to " +
                      std::to_string(topic->partitions.size() - 1),
                  Reason::kUnknownPartition);
}

Partition* ServiceContext::LedHere(RaftGroupId group) const {
  Partition* partition = partitions.Find(group);
  return partition != nullptr && partition->leadership().is_leader ? partition : nullptr;
}

std::optional<LeaderEpoch> ServiceContext::EpochOf(RaftGroupId group, Term term) const {
  if (group == kControllerGroup) return LeaderEpochOf(0, term);
  const TopicInfo* topic = image().FindTopicOf(group);
  if (topic == nullptr) return std::nullopt;
  return LeaderEpochOf(topic->leader_epoch_base, term);
}

Status ServiceContext::NotLeader(RaftGroupId group) const {
  return WithLeader(Unavailable("this broker does not lead the partition", Reason::kNotLeader),
                    group);
}

Status ServiceContext::WithLeader(Status status, RaftGroupId group) const {
  if (status.reason() != Reason::kNotLeader) return status;
  const bool has_leader =
      std::any_of(status.metadata().begin(), status.metadata().end(),
                  [](const auto& pair) { return pair.first == "leader_address"; });
  const LeaderHint hint = leaders.Find(group);
  const BrokerInfo* broker = image().FindBroker(hint.leader);
  if (has_leader || broker == nullptr) return status;
  Status named(status.code(), std::string(status.message()), status.reason());
  named.AddMetadata("leader_id", std::to_string(hint.leader.value()));
  named.AddMetadata("leader_address", ClientAddressOf(*broker));
  if (const std::optional<LeaderEpoch> epoch = EpochOf(group, hint.term)) {
    named.AddMetadata("leader_epoch", std::to_string(epoch->value()));
  }
  return named;
}

Duration ServiceContext::TimeFor(const Call& call, Duration time_max) const {
  const Duration left = TimeLeft(clock, call.deadline());
  return std::min(time_max, left - left / 10);
}

void ServiceContext::AskController(std::string_view method, Bytes body, Duration timeout,
                                   ForwardDone done) {
  if (controller.is_ready()) {
    forwarder.ServeHere(method, std::move(body), timeout, std::move(done));
    return;
  }
  const BrokerId leader = controller.leadership().leader.broker;
  if (leader == BrokerId() || leader == self.broker) {
    const Status health = controller_health();
    done(health.ok() ? Unavailable("the controller has no leader at the moment", Reason::kNotLeader)
                     : health);
    return;
  }
  forwarder.Forward({.to = leader, .method = method, .body = std::move(body), .timeout = timeout},
                    std::move(done));
}

void ServiceContext::Describe(const TopicInfo& topic, v1::Topic* out) const {
  out->set_name(topic.name);
  out->set_topic_id(topic.id.value());
  out->mutable_settings()->insert(topic.settings.begin(), topic.settings.end());
  out->set_batch_bytes_max(config::TopicSettings(topic.settings).batch_bytes_max);
  for (const PartitionInfo& info : topic.partitions) {
    const LeaderHint hint = leaders.Find(info.group);
    auto& partition = *out->add_partitions();
    partition.set_partition(info.partition.value());
    partition.set_leader_id(hint.leader.value());
    partition.set_leader_epoch(LeaderEpochOf(topic.leader_epoch_base, hint.term).value());
    for (const Voter& replica : info.replicas) partition.add_replica_ids(replica.broker.value());
    out->set_replication_factor(static_cast<uint32_t>(info.replicas.size()));
  }
}

}  // namespace millrace::broker

#include "broker/service/metadata/describe_topic.h"

#include "broker/config/topic_settings.h"

namespace millrace::broker {

void DescribeTopic(const ClusterView& view, const TopicInfo& topic, v1::Topic* out) {
  out->set_name(topic.name);
  out->set_topic_id(topic.id.value());
  out->set_is_internal(topic.is_internal());
  out->mutable_settings()->insert(topic.settings.begin(), topic.settings.end());
  out->set_batch_bytes_max(
      static_cast<uint32_t>(config::TopicSettings(topic.settings).batch_bytes_max));
  for (const PartitionInfo& info : topic.partitions) {
    const LeaderHint hint = view.LeaderOf(info.group);
    auto& partition = *out->add_partitions();
    partition.set_partition(info.partition.value());
    partition.set_leader_id(hint.leader.value());
    partition.set_leader_epoch(LeaderEpochOf(topic.leader_epoch_base, hint.term).value());
    for (const Voter& replica : info.replicas) partition.add_replica_ids(replica.broker.value());
    out->set_replication_factor(static_cast<uint32_t>(info.replicas.size()));
  }
}

}  // namespace millrace::broker

#include "client/core/metadata.h"

#include <algorithm>

namespace millrace::client {

bool MetadataCache::Update(const v1::DescribeTopicsResponse& response) {
  bool is_news = false;
  for (const v1::Broker& broker : response.brokers()) {
    if (!broker.address().empty()) addresses_[BrokerId(broker.broker_id())] = broker.address();
  }
  for (const v1::Topic& topic : response.topics()) {
    TopicDetails& known = topics_[topic.name()];
    const TopicId id(topic.topic_id());
    const uint32_t known_count = known.id == id ? known.partition_count : 0;
    known = {
        .id = id,
        .partition_count = std::max(known_count, static_cast<uint32_t>(topic.partitions_size())),
        .batch_bytes_max = topic.batch_bytes_max(),
        .partitioning = topic.partitioning()};
    for (const v1::Partition& partition : topic.partitions()) {
      is_news |= Learn(
          {TopicId(topic.topic_id()), PartitionId(partition.partition())},
          {.broker = BrokerId(partition.leader_id()), .epoch = Term(partition.leader_epoch())});
    }
  }
  return is_news;
}

bool MetadataCache::Learn(const TopicPartition& partition, const LeaderInfo& leader) {
  LeaderInfo& known = leaders_[partition];
  if (leader.epoch < known.epoch) return false;
  if (leader.epoch == known.epoch && leader.broker == BrokerId()) return false;
  const bool is_news = leader.broker != BrokerId() && leader.broker != known.broker;
  known = leader;
  return is_news;
}

const TopicDetails* MetadataCache::FindTopic(std::string_view name) const {
  auto found = topics_.find(name);
  return found == topics_.end() ? nullptr : &found->second;
}

LeaderInfo MetadataCache::LeaderOf(const TopicPartition& partition) const {
  auto found = leaders_.find(partition);
  return found == leaders_.end() ? LeaderInfo() : found->second;
}

std::string MetadataCache::AddressOf(BrokerId broker) const {
  auto found = addresses_.find(broker);
  return found == addresses_.end() ? std::string() : found->second;
}

std::vector<std::string> MetadataCache::Addresses() const {
  std::vector<std::string> addresses;
  addresses.reserve(addresses_.size());
  for (const auto& [broker, address] : addresses_) addresses.push_back(address);
  return addresses;
}

}  // namespace millrace::client

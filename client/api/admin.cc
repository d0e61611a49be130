#include "millrace/admin.h"

#include <utility>

#include "client/api/positions.h"
#include "client/api/runtime.h"
#include "client/core/error.h"

namespace millrace {
namespace {

TopicDescription Describe(const v1::Topic& topic) {
  TopicDescription described{.name = topic.name(),
                             .topic_id = topic.topic_id(),
                             .replication_factor = topic.replication_factor(),
                             .settings = {topic.settings().begin(), topic.settings().end()},
                             .partitions = {}};
  for (const v1::Partition& partition : topic.partitions()) {
    described.partitions.push_back(
        {.partition = partition.partition(),
         .leader_id = partition.leader_id(),
         .leader_epoch = partition.leader_epoch(),
         .replica_ids = {partition.replica_ids().begin(), partition.replica_ids().end()}});
  }
  return described;
}

OffsetRange Describe(const v1::DeletedRecords& deleted) {
  OffsetRange range{.partition = deleted.partition(),
                    .start = deleted.log_start_offset(),
                    .end = deleted.high_watermark(),
                    .leader_epoch = deleted.leader_epoch()};
  if (deleted.has_error()) range.status = client::FromError(deleted.error());
  return range;
}

OffsetRange Describe(const v1::PartitionOffsets& offsets) {
  OffsetRange range{.partition = offsets.partition(),
                    .status = {},
                    .start = offsets.log_start_offset(),
                    .end = offsets.high_watermark(),
                    .at_timestamp = {},
                    .found_timestamp_ms = {},
                    .found_leader_epoch = {},
                    .leader_epoch = offsets.leader_epoch()};
  if (offsets.has_error()) range.status = client::FromError(offsets.error());
  if (offsets.has_timestamp_offset()) range.at_timestamp = offsets.timestamp_offset();
  if (offsets.has_found_timestamp_ms()) range.found_timestamp_ms = offsets.found_timestamp_ms();
  if (offsets.has_found_leader_epoch()) range.found_leader_epoch = offsets.found_leader_epoch();
  return range;
}

Result<std::vector<OffsetRange>> ListOffsetsOf(internal::Runtime& runtime,
                                               const v1::ListOffsetsRequest& request,
                                               std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::ListOffsetsResponse response,
                   runtime.Await<v1::ListOffsetsResponse>([&](auto done) {
                     runtime.client().ListAllOffsets(request, internal::Bounded(timeout),
                                                     std::move(done));
                   }));
  std::vector<OffsetRange> ranges;
  for (const v1::PartitionOffsets& offsets : response.partitions()) {
    ranges.push_back(Describe(offsets));
  }
  return ranges;
}

Result<std::vector<TopicListing>> ListTopicsOf(internal::Runtime& runtime, bool include_internal,
                                               std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(
      const v1::ListTopicsResponse response, runtime.Await<v1::ListTopicsResponse>([&](auto done) {
        runtime.client().ListTopics(include_internal, internal::Bounded(timeout), std::move(done));
      }));
  std::vector<TopicListing> topics;
  for (const v1::ListedTopic& topic : response.topics()) {
    topics.push_back({.name = topic.name(),
                      .topic_id = topic.topic_id(),
                      .partition_count = topic.partition_count(),
                      .replication_factor = topic.replication_factor(),
                      .is_internal = topic.is_internal()});
  }
  return topics;
}

}  // namespace

Admin::Admin(std::shared_ptr<internal::Runtime> runtime) : runtime_(std::move(runtime)) {}
Admin::~Admin() = default;

Result<TopicDescription> Admin::CreateTopic(const TopicSpec& topic,
                                            std::chrono::milliseconds timeout) {
  v1::CreateTopicRequest request;
  request.set_name(topic.name);
  request.set_partition_count(topic.partition_count);
  request.set_replication_factor(topic.replication_factor);
  for (const auto& [key, value] : topic.settings) (*request.mutable_settings())[key] = value;
  ASSIGN_OR_RETURN(const v1::CreateTopicResponse response,
                   runtime_->Await<v1::CreateTopicResponse>([&](auto done) {
                     runtime_->client().CreateTopic(request, internal::Bounded(timeout),
                                                    std::move(done));
                   }));
  return Describe(response.topic());
}

Result<uint64_t> Admin::DeleteTopic(const std::string& name, std::chrono::milliseconds timeout) {
  v1::DeleteTopicRequest request;
  request.set_name(name);
  ASSIGN_OR_RETURN(const v1::DeleteTopicResponse response,
                   runtime_->Await<v1::DeleteTopicResponse>([&](auto done) {
                     runtime_->client().DeleteTopic(request, internal::Bounded(timeout),
                                                    std::move(done));
                   }));
  return response.topic_id();
}

Result<TopicAlteration> Admin::AlterTopic(const std::string& name, const TopicChange& change,
                                          std::chrono::milliseconds timeout) {
  v1::AlterTopicRequest request;
  request.set_name(name);
  request.mutable_set()->insert(change.set.begin(), change.set.end());
  *request.mutable_unset() = {change.unset.begin(), change.unset.end()};
  request.set_is_dry_run(change.is_dry_run);
  request.set_partition_count(change.partition_count);
  ASSIGN_OR_RETURN(const v1::AlterTopicResponse response,
                   runtime_->Await<v1::AlterTopicResponse>([&](auto done) {
                     runtime_->client().AlterTopic(request, internal::Bounded(timeout),
                                                   std::move(done));
                   }));
  return TopicAlteration{.topic = Describe(response.topic()),
                         .changed = {response.changed().begin(), response.changed().end()},
                         .partitions_added = response.partitions_added()};
}

Result<std::vector<TopicSettingDescription>> Admin::ListTopicSettings(
    std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::ListTopicSettingsResponse response,
                   runtime_->Await<v1::ListTopicSettingsResponse>([&](auto done) {
                     runtime_->client().ListTopicSettings(internal::Bounded(timeout),
                                                          std::move(done));
                   }));
  std::vector<TopicSettingDescription> settings;
  for (const v1::TopicSetting& setting : response.settings()) {
    settings.push_back({.key = setting.key(),
                        .type = setting.type(),
                        .default_value = setting.default_value(),
                        .min_value = setting.min_value(),
                        .max_value = setting.max_value(),
                        .description = setting.description(),
                        .kafka_name = setting.kafka_name(),
                        .choices = {setting.choices().begin(), setting.choices().end()}});
  }
  return settings;
}

Result<std::vector<TopicListing>> Admin::ListTopics(std::chrono::milliseconds timeout) {
  return ListTopicsOf(*runtime_, false, timeout);
}

Result<std::vector<TopicListing>> Admin::ListAllTopics(std::chrono::milliseconds timeout) {
  return ListTopicsOf(*runtime_, true, timeout);
}

Result<TopicDescription> Admin::DescribeTopic(const std::string& name,
                                              std::chrono::milliseconds timeout) {
  v1::DescribeTopicsRequest request;
  request.add_names(name);
  ASSIGN_OR_RETURN(const v1::DescribeTopicsResponse response,
                   runtime_->Await<v1::DescribeTopicsResponse>([&](auto done) {
                     runtime_->client().DescribeTopics(request, internal::Bounded(timeout),
                                                       std::move(done));
                   }));
  if (response.topics_size() != 1) return Internal("the broker's answer has not the one topic");
  return Describe(response.topics(0));
}

Result<ClusterDescription> Admin::DescribeCluster(std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::DescribeClusterResponse response,
                   runtime_->Await<v1::DescribeClusterResponse>([&](auto done) {
                     runtime_->client().DescribeCluster(internal::Bounded(timeout),
                                                        std::move(done));
                   }));
  ClusterDescription cluster{.name = response.cluster_name(),
                             .uuid = response.cluster_uuid(),
                             .controller_id = response.controller_id(),
                             .brokers = {},
                             .topic_count = response.topic_count(),
                             .partition_count = response.partition_count()};
  for (const v1::Broker& broker : response.brokers()) {
    cluster.brokers.push_back({.broker_id = broker.broker_id(),
                               .address = broker.address(),
                               .is_alive = broker.is_alive(),
                               .leader_count = broker.leader_count(),
                               .replica_count = broker.replica_count()});
  }
  return cluster;
}

Result<std::vector<OffsetRange>> Admin::ListOffsets(const std::string& topic,
                                                    std::optional<int64_t> timestamp_ms,
                                                    std::chrono::milliseconds timeout,
                                                    Isolation isolation) {
  v1::ListOffsetsRequest request;
  request.set_topic(topic);
  request.set_isolation(internal::ToWire(isolation));
  if (timestamp_ms) request.set_timestamp_ms(*timestamp_ms);
  return ListOffsetsOf(*runtime_, request, timeout);
}

Result<std::vector<OffsetRange>> Admin::ListNewestOffsets(const std::string& topic,
                                                          std::chrono::milliseconds timeout) {
  v1::ListOffsetsRequest request;
  request.set_topic(topic);
  request.set_newest(true);
  return ListOffsetsOf(*runtime_, request, timeout);
}

Result<std::vector<OffsetRange>> Admin::DeleteRecords(const std::string& topic,
                                                      const std::map<uint32_t, int64_t>& before,
                                                      std::chrono::milliseconds timeout) {
  v1::DeleteRecordsRequest request;
  request.set_topic(topic);
  for (const auto& [partition, offset] : before) {
    v1::RecordsBefore& records = *request.add_partitions();
    records.set_partition(partition);
    records.set_before_offset(offset);
  }
  ASSIGN_OR_RETURN(const v1::DeleteRecordsResponse response,
                   runtime_->Await<v1::DeleteRecordsResponse>([&](auto done) {
                     runtime_->client().DeleteAllRecords(request, internal::Bounded(timeout),
                                                         std::move(done));
                   }));
  std::vector<OffsetRange> ranges;
  for (const v1::DeletedRecords& deleted : response.partitions()) {
    ranges.push_back(Describe(deleted));
  }
  return ranges;
}

Result<ServerInfo> Admin::GetServerInfo(std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse response,
                   runtime_->Await<v1::GetServerInfoResponse>([&](auto done) {
                     runtime_->client().GetServerInfo(internal::Bounded(timeout), std::move(done));
                   }));
  return ServerInfo{.version = response.version(),
                    .broker_id = response.broker_id(),
                    .cluster_name = response.cluster_name(),
                    .cluster_uuid = response.cluster_uuid(),
                    .batch_bytes_max = response.batch_bytes_max(),
                    .message_bytes_max = response.message_bytes_max()};
}

}  // namespace millrace

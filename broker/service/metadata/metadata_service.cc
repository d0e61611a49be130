#include "broker/service/metadata/metadata_service.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/config/topic_settings.h"
#include "broker/controller/leader_epoch.h"
#include "broker/partition/partition.h"
#include "broker/service/metadata/describe_topic.h"
#include "broker/service/metadata/topic_page.h"
#include "millrace/v1/metadata_service.pb.h"

namespace millrace::broker {
void MetadataService::Register(ServiceRegistry* registry) {
  registry->AddCall("/millrace.v1.MetadataService/GetServerInfo",
                    [this](const std::shared_ptr<Call>& call) { GetServerInfo(*call); });
  registry->AddCall("/millrace.v1.MetadataService/DescribeCluster",
                    [this](const std::shared_ptr<Call>& call) { DescribeCluster(*call); });
  registry->AddCall("/millrace.v1.MetadataService/DescribeTopics",
                    [this](const std::shared_ptr<Call>& call) { DescribeTopics(*call); });
  registry->AddCall("/millrace.v1.MetadataService/ListTopics",
                    [this](const std::shared_ptr<Call>& call) { ListTopics(*call); });
  registry->AddCall("/millrace.v1.MetadataService/ListTopicSettings",
                    [this](const std::shared_ptr<Call>& call) { ListTopicSettings(*call); });
  registry->AddCall("/millrace.v1.MetadataService/FindCoordinators",
                    [this](const std::shared_ptr<Call>& call) { FindCoordinators(*call); });
}

std::string MetadataService::ClusterUuidText() const {
  const uint64_t uuid = facts_.cluster_uuid();
  if (uuid == 0) return "";
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(uuid));
  return text;
}

void MetadataService::GetServerInfo(Call& call) const {
  v1::GetServerInfoResponse response;
  response.set_version(MILLRACE_VERSION);
  response.set_broker_id(facts_.self.value());
  response.set_cluster_name(facts_.cluster_name);
  response.set_cluster_uuid(ClusterUuidText());
  response.set_batch_bytes_max(static_cast<uint32_t>(config::TopicSettings().batch_bytes_max));
  response.set_message_bytes_max(static_cast<uint32_t>(facts_.message_bytes_max));
  response.set_producer_inflight_batches_max(kProducerBatchesKept);
  response.set_streams_per_connection_max(static_cast<uint32_t>(facts_.streams_per_connection_max));
  for (const BatchCompression compression : kBatchCompressions) {
    response.add_compressions(static_cast<v1::Compression>(compression));
  }
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

template <typename Response>
void MetadataService::FillBrokers(Response* response) const {
  std::map<BrokerId, uint32_t> leader_counts;
  std::map<BrokerId, uint32_t> replica_counts;
  for (const auto& [id, topic] : view_->image().topics()) {
    if (topic->is_internal()) continue;
    for (const PartitionInfo& partition : topic->partitions) {
      ++leader_counts[view_->LeaderOf(partition.group).leader];
      for (const Voter& replica : partition.replicas) ++replica_counts[replica.broker];
    }
  }
  for (const auto& [id, info] : view_->image().brokers()) {
    auto& broker = *response->add_brokers();
    broker.set_broker_id(id.value());
    broker.set_address(ClientAddressOf(info));
    broker.set_is_alive(id == facts_.self || transport_->IsConnected(id));
    broker.set_leader_count(leader_counts[id]);
    broker.set_replica_count(replica_counts[id]);
  }
}

void MetadataService::DescribeCluster(Call& call) const {
  // While this broker starts there is something to tell; an image that will not come is no cluster.
  const Status health = view_->controller_health();
  if (!health.ok()) return call.Fail(health);
  v1::DescribeClusterResponse response;
  response.set_cluster_name(facts_.cluster_name);
  response.set_cluster_uuid(ClusterUuidText());
  response.set_controller_id(controllers_->leader().value());
  response.set_topic_count(static_cast<uint32_t>(view_->image().topic_count()));
  response.set_partition_count(static_cast<uint32_t>(view_->image().partition_count()));
  FillBrokers(&response);
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

Result<std::vector<const TopicInfo*>> MetadataService::FindTopics(
    const std::string& page_token, bool include_internal,
    const std::vector<std::string>& names) const {
  RETURN_IF_ERROR(view_->CheckKnowsTopics());
  if (names.empty()) return TopicsAfter(view_->image(), page_token, include_internal);
  std::vector<const TopicInfo*> topics;
  for (const std::string& name : names) {
    const Result<const TopicInfo*> topic = name.empty() ? InvalidArgument("names has an empty name")
                                                        : view_->FindTopic(name, TopicId());
    if (!topic.ok()) return topic.status();
    if ((*topic)->name > page_token) topics.push_back(*topic);
  }
  std::sort(topics.begin(), topics.end(),
            [](const TopicInfo* a, const TopicInfo* b) { return a->name < b->name; });
  // A name that was given twice is answered once.
  topics.erase(std::unique(topics.begin(), topics.end()), topics.end());
  return topics;
}

void MetadataService::DescribeTopics(Call& call) const {
  const Status count = CheckCount(
      call.request(), {.number = v1::DescribeTopicsRequest::kNamesFieldNumber, .name = "names"});
  if (!count.ok()) return call.Fail(count);
  const auto request = ParseRequest<v1::DescribeTopicsRequest>(call.request());
  if (!request.ok()) return call.Fail(request.status());
  const auto topics = FindTopics(request->page_token(), request->include_internal(),
                                 {request->names().begin(), request->names().end()});
  if (!topics.ok()) return call.Fail(topics.status());
  v1::DescribeTopicsResponse response;
  FillPage(
      *topics, request->page_size(),
      [this](const TopicInfo& topic, v1::Topic* out) { DescribeTopic(*view_, topic, out); },
      &response);
  FillBrokers(&response);
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

void MetadataService::FindCoordinators(Call& call) const {
  const Status count = CheckCount(
      call.request(), {.number = v1::FindCoordinatorsRequest::kIdsFieldNumber, .name = "ids"});
  if (!count.ok()) return call.Fail(count);
  const auto request = ParseRequest<v1::FindCoordinatorsRequest>(call.request());
  if (!request.ok()) return call.Fail(request.status());
  v1::FindCoordinatorsResponse response;
  for (const std::string& id : request->ids()) {
    const Result<ClusterView::GroupPlace> place = view_->FindGroup(id);
    if (!place.ok()) return call.Fail(place.status());
    const LeaderHint hint = view_->LeaderOf(place->shard->group);
    v1::Coordinator& out = *response.add_coordinators();
    out.set_id(id);
    out.set_slot(place->slot);
    out.set_shard(place->shard->partition.value());
    out.set_leader_id(hint.leader.value());
    out.set_leader_epoch(LeaderEpochOf(place->leader_epoch_base, hint.term).value());
  }
  FillBrokers(&response);
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

void MetadataService::ListTopicSettings(Call& call) const {
  v1::ListTopicSettingsResponse response;
  config::TopicSettings defaults;
  if (facts_.segment_bytes != 0) defaults.segment_bytes = facts_.segment_bytes;
  for (const config::TopicSetting& setting : config::TopicSettingTable()) {
    v1::TopicSetting& out = *response.add_settings();
    out.set_key(std::string(setting.key));
    out.set_type(std::string(config::KindName(setting.kind)));
    out.set_default_value(config::DefaultOf(setting, defaults));
    if (config::IsNumber(setting.kind)) {
      out.set_min_value(config::FormatNumber(setting.kind, setting.range.min));
      out.set_max_value(config::FormatNumber(setting.kind, setting.range.max));
    }
    for (const std::string_view choice : setting.choices) out.add_choices(std::string(choice));
    out.set_description(std::string(setting.doc));
    out.set_kafka_name(std::string(setting.kafka_name));
  }
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

void MetadataService::ListTopics(Call& call) const {
  const auto request = ParseRequest<v1::ListTopicsRequest>(call.request());
  if (!request.ok()) return call.Fail(request.status());
  const auto topics = FindTopics(request->page_token(), request->include_internal(), {});
  if (!topics.ok()) return call.Fail(topics.status());
  v1::ListTopicsResponse response;
  FillPage(
      *topics, request->page_size(),
      [](const TopicInfo& topic, v1::ListedTopic* out) {
        out->set_name(topic.name);
        out->set_topic_id(topic.id.value());
        out->set_partition_count(static_cast<uint32_t>(topic.partitions.size()));
        // Every partition of a topic has as many replicas.
        out->set_replication_factor(
            static_cast<uint32_t>(topic.partitions.front().replicas.size()));
        out->set_is_internal(topic.is_internal());
      },
      &response);
  call.Reply(Bytes::Own(response.SerializeAsString()));
}

}  // namespace millrace::broker

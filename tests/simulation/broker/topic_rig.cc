#include "tests/simulation/broker/topic_rig.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include <glog/logging.h>

namespace millrace::sim {
namespace {

using client::Client;
using std::chrono::seconds;

constexpr char kTopic[] = "t";

}  // namespace

TopicRig::TopicRig(uint64_t seed, const ClusterOptions& options)
    : world_(seed),
      cluster_(world_, options),
      own_(world_, cluster_.edge(), cluster_.addresses(), "client") {
  cluster_.StartAll();
  for (size_t i = 0; i < cluster_.size(); ++i) {
    CHECK(world_.RunUntil([&] { return IsReady(i); }, seconds(60)));
  }
  v1::CreateTopicRequest request;
  request.set_name(kTopic);
  request.set_partition_count(1);
  request.set_replication_factor(static_cast<uint32_t>(cluster_.size()));
  Call<v1::CreateTopicResponse>(
      {"/millrace.v1.AdminService/CreateTopic", Client::CallKind::kChange}, request);
  const broker::Image& image = cluster_.node(Leader()).controller().image();
  group_ = image.FindTopic(kTopic)->partitions.front().group;
}

template <typename Response, typename Request>
Response TopicRig::Call(const Client::Method& method, const Request& request) {
  std::optional<Result<Bytes>> reply;
  own_.client.Call(method, Bytes::Own(request.SerializeAsString()), seconds(60),
                   [&reply](Result<Bytes> answer) { reply = std::move(answer); });
  CHECK(world_.RunUntil([&reply] { return reply.has_value(); }, seconds(90)));
  CHECK(reply->ok()) << method.name << " " << reply->status();
  Response response;
  CHECK(response.ParseFromArray((*reply)->data(), static_cast<int>((*reply)->size())));
  return response;
}

void TopicRig::Produce(size_t records, size_t bytes) {
  for (size_t i = 0; i < records; ++i) {
    v1::PublishRequest request;
    request.set_topic(kTopic);
    request.add_records()->set_value(std::string(bytes, 'v'));
    const auto response = Call<v1::PublishResponse>(
        {"/millrace.v1.ProducerService/Publish", Client::CallKind::kChange}, request);
    CHECK(!response.results(0).has_error()) << response.results(0).error().message();
  }
}

Offset TopicRig::high_watermark() {
  return cluster_.node(Leader()).replicas().Find(group_)->high_watermark();
}

void TopicRig::DeleteTo(Offset before) {
  v1::DeleteRecordsRequest request;
  request.set_topic(kTopic);
  v1::RecordsBefore& partition = *request.add_partitions();
  partition.set_partition(0);
  partition.set_before_offset(before.value());
  const auto response = Call<v1::DeleteRecordsResponse>(
      {"/millrace.v1.AdminService/DeleteRecords", Client::CallKind::kChange}, request);
  CHECK(!response.partitions(0).has_error()) << response.partitions(0).error().message();
}

bool TopicRig::IsReady(size_t broker) {
  return cluster_.is_serving(broker) && cluster_.node(broker).is_ready();
}

bool TopicRig::Leads(size_t broker) {
  if (!cluster_.is_serving(broker)) return false;
  const auto& partitions = cluster_.node(broker).replicas().partitions();
  return std::any_of(partitions.begin(), partitions.end(),
                     [](const auto& one) { return one.second->leadership().is_ready; });
}

size_t TopicRig::Leader() {
  size_t leader = 0;
  const auto is_led = [this, &leader] {
    for (leader = 0; leader < cluster_.size(); ++leader) {
      if (Leads(leader)) return true;
    }
    return false;
  };
  CHECK(world_.RunUntil(is_led, seconds(60)));
  return leader;
}

void TopicRig::MakeLead(size_t broker) {
  for (size_t leader = Leader(); leader != broker; leader = Leader()) {
    cluster_.Kill(leader, /*power_loss=*/false);
    world_.RunFor(seconds(3));
    cluster_.Start(leader);
    CHECK(world_.RunUntil([&] { return IsReady(leader); }, seconds(60)));
  }
}

uint64_t TopicRig::BytesOnDisk(size_t broker) {
  const std::string folder = "groups/" + std::to_string(group_.value()) + "/";
  uint64_t bytes = 0;
  for (const std::string& path : cluster_.disk(broker).Paths()) {
    if (path.starts_with(folder)) bytes += cluster_.disk(broker).Content(path)->size();
  }
  return bytes;
}

}  // namespace millrace::sim

// A simulated cluster of whole brokers and a client that calls any of them, waiting for each
// answer: what tests of the services share.
//
// One per test; one thread.
//
//   ServiceRig rig(1);
//   rig.CreateTopic("t", 4);
//   auto reply = rig.Call<v1::PublishResponse>(2, kPublish, request);
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>

#include <glog/logging.h>

#include "client/core/connector.h"
#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/sim_connector.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

inline constexpr Duration kRigTimeMax = std::chrono::seconds(60);
// For calls that end before a broker that stands still is given up by its peers.
inline constexpr Duration kLessThanPeersKeepAlive = std::chrono::milliseconds(500);

class ServiceRig {
 public:
  explicit ServiceRig(uint64_t seed, size_t brokers = 3) : ServiceRig(seed, {.brokers = brokers}) {}
  ServiceRig(uint64_t seed, const sim::ClusterOptions& options)
      : world(seed),
        cluster(world, options),
        client(world.AddProcess("client")),
        connector(cluster.edge(), client) {
    FLAGS_minloglevel = google::GLOG_FATAL;
    cluster.StartAll();
    const bool is_up = world.RunUntil(
        [&] {
          for (size_t i = 0; i < options.brokers; ++i) {
            if (!cluster.is_serving(i)) return false;
          }
          return true;
        },
        kRigTimeMax);
    CHECK(is_up) << "the brokers do not start";
  }

  template <typename Response, typename Request>
  Result<Response> Call(size_t broker, const std::string& method, const Request& request,
                        Duration timeout = std::chrono::seconds(20)) {
    std::optional<Result<Bytes>> body;
    connector.Call({.address = cluster.addresses()[broker],
                    .method = method,
                    .body = Bytes::Own(request.SerializeAsString()),
                    .timeout = timeout},
                   [&body](Result<Bytes> answer) { body = std::move(answer); });
    CHECK(world.RunUntil([&] { return body.has_value(); }, kRigTimeMax)) << method;
    if (!body->ok()) return body->status();
    Response response;
    CHECK(response.ParseFromArray((*body)->data(), static_cast<int>((*body)->size()))) << method;
    return response;
  }

  // A topic with all brokers as replicas, every partition with a leader that all brokers know.
  void CreateTopic(const std::string& name, uint32_t partitions,
                   const std::map<std::string, std::string>& settings = {}) {
    v1::CreateTopicRequest request;
    request.set_name(name);
    request.set_partition_count(partitions);
    request.set_replication_factor(static_cast<uint32_t>(cluster.size()));
    request.mutable_settings()->insert(settings.begin(), settings.end());
    Status created = Unavailable("not asked yet");
    // The controllers may be electing still.
    for (int attempt = 0; attempt < 500 && created.code() == Code::kUnavailable; ++attempt) {
      world.RunFor(std::chrono::milliseconds(20));
      created = Call<v1::CreateTopicResponse>(0, "/millrace.v1.AdminService/CreateTopic", request)
                    .status();
    }
    CHECK(created.ok()) << created;
    for (uint32_t partition = 0; partition < partitions; ++partition) LeaderOf(name, partition);
  }

  TopicId TopicIdOf(const std::string& topic) {
    return TopicId(Describe(0, topic).value().topics(0).topic_id());
  }

  // A producer id that the broker gave.
  ProducerId InitProducer(size_t broker) {
    const auto given = Call<v1::InitProducerResponse>(
        broker, "/millrace.v1.ProducerService/InitProducer", v1::InitProducerRequest());
    CHECK(given.ok()) << given.status();
    return ProducerId(given->producer_id());
  }

  // Sends a serialized RecordBatch on a Produce stream of its own, and waits for its result.
  v1::ProduceResult Produce(size_t broker, const std::string& topic, Bytes batch);

  // The leader of the partition, by its place in the cluster, once all who live agree on it.
  size_t LeaderOf(const std::string& topic, uint32_t partition) {
    for (int attempt = 0; attempt < 1000; ++attempt) {
      std::optional<uint32_t> leader;
      bool do_agree = true;
      for (size_t i = 0; i < cluster.size(); ++i) {
        if (!cluster.is_serving(i)) continue;
        const uint32_t told = AskLeader(i, topic, partition);
        do_agree = do_agree && told != 0 && (!leader.has_value() || *leader == told);
        leader = told;
      }
      if (do_agree && leader.has_value()) return *leader - 1;
      world.RunFor(std::chrono::milliseconds(20));
    }
    LOG(FATAL) << "no leader of " << topic << "/" << partition;
    return 0;
  }

  sim::SimWorld world;
  sim::SimCluster cluster;
  sim::SimProcess& client;
  sim::SimConnector connector;

 private:
  Result<v1::DescribeTopicsResponse> Describe(size_t broker, const std::string& topic) {
    v1::DescribeTopicsRequest request;
    request.add_names(topic);
    return Call<v1::DescribeTopicsResponse>(broker, "/millrace.v1.MetadataService/DescribeTopics",
                                            request);
  }

  uint32_t AskLeader(size_t broker, const std::string& topic, uint32_t partition) {
    const auto told = Describe(broker, topic);
    if (!told.ok()) return 0;
    const uint32_t leader = told->topics(0).partitions(static_cast<int>(partition)).leader_id();
    return leader != 0 && cluster.is_serving(leader - 1) ? leader : 0;
  }
};

inline v1::ProduceResult ServiceRig::Produce(size_t broker, const std::string& topic, Bytes batch) {
  struct Results final : client::RpcStreamHandler {
    void OnMessage(Bytes message) override {
      v1::ProduceResponse response;
      CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
      for (const v1::ProduceResult& one : response.results()) result = one;
    }
    void OnClosed(const Status& status) override { LOG(FATAL) << status; }
    std::optional<v1::ProduceResult> result;
  };
  Results results;
  const auto stream = connector.OpenStream(cluster.addresses()[broker],
                                           "/millrace.v1.ProducerService/Produce", &results);
  v1::ProduceRequest init;
  init.mutable_init()->set_client_id("rig");
  stream->Write({Bytes::Own(init.SerializeAsString())});
  v1::ProduceRequest request;
  v1::ProduceBatch& sent = *request.add_batches();
  sent.set_topic(topic);
  CHECK(sent.mutable_batch()->ParseFromArray(batch.data(), static_cast<int>(batch.size())));
  stream->Write({Bytes::Own(request.SerializeAsString())});
  CHECK(world.RunUntil([&] { return results.result.has_value(); }, kRigTimeMax));
  return *results.result;
}

}  // namespace millrace::broker

// What an operator does every week: brokers are restarted one after the other, and the next one
// stops as soon as the last one says that it is ready. Writers must hardly notice.

#include <algorithm>
#include <chrono>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "client/core/client.h"
#include "client/core/producer_driver.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kPartitions = 3;
// Less than the shortest election timeout: nothing may wait for one.
constexpr Duration kWaitMax = milliseconds(300);

// A client with a process of its own, which makes a topic and sends a record to each partition
// every ten milliseconds.
class SteadyWriter {
 public:
  SteadyWriter(SimWorld& world, SimCluster& cluster)
      : own_(world, cluster.edge(), cluster.addresses(), "writer"),
        producer_(own_.client, "t", {},
                  {.on_report = [this](const client::DeliveryReport& report) { OnReport(report); },
                   .on_room = [] {}}),
        sent_(kPartitions) {
    CreateTopic();
  }

  bool is_writing() const { return is_writing_; }
  uint64_t acknowledged() const { return acknowledged_; }
  const Status& refusal() const { return refusal_; }
  // The longest that a record waited for its acknowledgement, those that still wait included.
  Duration longest_wait() const {
    Duration longest = longest_wait_;
    for (const std::deque<MonotonicTime>& sent : sent_) {
      if (!sent.empty()) longest = std::max(longest, own_.process.clock().Now() - sent.front());
    }
    return longest;
  }

 private:
  void CreateTopic() {
    v1::CreateTopicRequest request;
    request.set_name("t");
    request.set_partition_count(kPartitions);
    request.set_replication_factor(3);
    own_.client.CreateTopic(
        request, seconds(20), [this](const Result<v1::CreateTopicResponse>& reply) {
          const bool is_there = reply.ok() || reply.status().code() == Code::kAlreadyExists;
          is_there ? Open() : CreateTopic();
        });
  }

  void Open() {
    producer_.Open(seconds(20), [this](Status status) { status.ok() ? Write() : Open(); });
  }

  void Write() {
    is_writing_ = true;
    const MonotonicTime now = own_.process.clock().Now();
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      const Result<PartitionId> sent =
          producer_.Send({.value = "a record"}, now, PartitionId(partition));
      if (!sent.ok()) refusal_ = sent.status();
      if (sent.ok()) sent_[partition].push_back(now);
    }
    own_.process.executor().RunAfter(milliseconds(10), [this] { Write(); });
  }

  void OnReport(const client::DeliveryReport& report) {
    if (!report.status.ok()) refusal_ = report.status;
    std::deque<MonotonicTime>& sent = sent_[report.partition.partition.value()];
    for (uint32_t i = 0; i < report.record_count; ++i) {
      longest_wait_ = std::max(longest_wait_, own_.process.clock().Now() - sent.front());
      sent.pop_front();
      ++acknowledged_;
    }
  }

  SimClient own_;
  client::ProducerDriver producer_;
  std::vector<std::deque<MonotonicTime>> sent_;  // by partition, not acknowledged yet
  bool is_writing_ = false;
  uint64_t acknowledged_ = 0;
  Duration longest_wait_{0};
  Status refusal_;
};

// The longest wait of a record while each broker is taken down in turn, is away for `away`, and
// the next goes down the moment that it is ready again.
Duration LongestWait(uint64_t seed, Duration away) {
  SimWorld world(seed);
  SimCluster cluster(world, {.brokers = 3});
  auto writer = std::make_unique<SteadyWriter>(world, cluster);
  cluster.StartAll();
  EXPECT_TRUE(world.RunUntil([&] { return writer->is_writing(); }, seconds(60))) << "seed=" << seed;
  world.RunFor(seconds(2));
  for (size_t broker = 0; broker < cluster.size(); ++broker) {
    cluster.Kill(broker, /*power_loss=*/false);
    world.RunFor(away);
    cluster.Start(broker);
    const auto is_ready = [&] {
      return cluster.is_serving(broker) && cluster.node(broker).is_ready();
    };
    EXPECT_TRUE(world.RunUntil(is_ready, seconds(60)))
        << "seed=" << seed << " broker=" << broker + 1;
  }
  world.RunFor(seconds(2));
  EXPECT_TRUE(writer->refusal().ok()) << "seed=" << seed << " " << writer->refusal();
  EXPECT_GT(writer->acknowledged(), 500u) << "seed=" << seed;
  const Duration longest = writer->longest_wait();
  writer.reset();  // before the edge that it talks through
  return longest;
}

TEST(RollingRestartTest, WritersHardlyNotice_WhenTheNextBrokerStopsAsTheLastIsReady) {
  FLAGS_minloglevel = google::GLOG_FATAL;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    for (const Duration away : {Duration(milliseconds(500)), Duration(seconds(5))}) {
      const Duration longest = LongestWait(seed, away);
      std::cout << "seed=" << seed << " away_ms=" << away.count() / 1000
                << " longest_ms=" << longest.count() / 1000 << "\n";
      EXPECT_LE(longest, kWaitMax) << "seed=" << seed << " away_ms=" << away.count() / 1000;
    }
  }
}

}  // namespace
}  // namespace millrace::sim

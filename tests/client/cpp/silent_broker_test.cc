// A leader that is stopped, or cut off, keeps its connections and says nothing: producer and
// consumer must find its successor without being told that anything is wrong.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/cpp/consumer_client.h"
#include "client/cpp/producer_client.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Brokers that answer calls, with one topic of one partition, and never say anything on a stream.
class SilentBrokers final : public Connector {
 public:
  explicit SilentBrokers(Executor& executor) : executor_(executor) {}

  void SetLeader(uint32_t broker) {
    leader_ = broker;
    ++epoch_;
  }
  // Messages after the first, by broker's address.
  size_t messages(const std::string& address) const {
    const auto found = messages_.find(address);
    return found == messages_.end() ? 0 : found->second;
  }
  size_t describes() const { return describes_; }

  void Call(RpcRequest request, RpcDone done) override {
    std::string answer;
    if (request.method.ends_with("/InitProducer")) {
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      answer = response.SerializeAsString();
    } else {
      ++describes_;
      answer = Describe().SerializeAsString();
    }
    executor_.Post([done = std::move(done), answer = std::move(answer)]() mutable {
      done(Bytes::Own(std::move(answer)));
    });
  }

  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string&,
                                        RpcStreamHandler*) override {
    return std::make_unique<Stream>(messages_[address]);
  }

 private:
  class Stream final : public RpcStream {
   public:
    explicit Stream(size_t& messages) : messages_(messages) {}
    void Write(std::vector<Bytes>) override {
      if (!std::exchange(is_first_, false)) ++messages_;
    }

   private:
    size_t& messages_;
    bool is_first_ = true;
  };

  v1::DescribeTopicsResponse Describe() const {
    v1::DescribeTopicsResponse response;
    for (uint32_t id = 1; id <= 2; ++id) {
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(id);
      broker.set_address("broker" + std::to_string(id));
    }
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(1);
    v1::Partition& partition = *topic.add_partitions();
    partition.set_leader_id(leader_);
    partition.set_leader_epoch(epoch_);
    return response;
  }

  Executor& executor_;
  uint32_t leader_ = 1;
  uint64_t epoch_ = 1;
  size_t describes_ = 0;
  std::map<std::string, size_t> messages_;
};

class SilentBrokerTest : public testing::Test {
 protected:
  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  SilentBrokers brokers_{process_.executor()};
  Client client_{{process_.executor(), process_.clock(), brokers_, process_.Fork()},
                 {.bootstrap = {"broker1"}}};
};

TEST_F(SilentBrokerTest, ProducerSendsAgainToTheNewLeader_WhenTheOldOneSaysNothing) {
  ProducerClient producer(client_, "t", {}, {});
  bool is_open = false;
  producer.Open(seconds(1), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(1)));
  ASSERT_TRUE(producer.Send({.value = "x"}, process_.clock().Now()).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker1") > 0; }, seconds(1)));
  brokers_.SetLeader(2);
  EXPECT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker2") > 0; }, seconds(3)));
}

TEST_F(SilentBrokerTest, ConsumerReadsAtTheNewLeader_WhenTheOldOneSaysNothing) {
  ConsumerClient consumer(client_, "t", {}, [] {});
  bool is_open = false;
  consumer.Open(seconds(1), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(1)));
  ASSERT_TRUE(consumer.Assign(PartitionId(0), StartAt::Earliest()).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker1") > 0; }, seconds(1)));
  brokers_.SetLeader(2);
  EXPECT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker2") > 0; }, seconds(3)));
}

TEST_F(SilentBrokerTest, ReaderOfAQuietPartitionAsksEverMoreRarely) {
  ConsumerClient consumer(client_, "t", {}, [] {});
  bool is_open = false;
  consumer.Open(seconds(1), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(1)));
  ASSERT_TRUE(consumer.Assign(PartitionId(0), StartAt::Earliest()).ok());
  world_.RunFor(std::chrono::minutes(10));
  const size_t before = brokers_.describes();
  world_.RunFor(std::chrono::minutes(5));
  EXPECT_LE(brokers_.describes() - before, 10u);
}

}  // namespace
}  // namespace millrace::client

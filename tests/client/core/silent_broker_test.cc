// What producer and consumer must find out by asking: a leader that is stopped, or cut off, keeps
// its connections and says nothing; a broker that lags behind, or is busy, says what is not so.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/core/consumer_driver.h"
#include "client/core/producer_driver.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Brokers that answer calls, with topics of one partition, and never say anything on a stream.
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
  // From now on the name stands for this topic; for none with 0.
  void SetTopic(const std::string& name, uint64_t id) { topics_[name] = id; }
  // So many calls are refused, to be tried again after a second.
  void RefuseCalls(uint32_t count) { refusals_left_ = count; }

  void Call(RpcRequest request, RpcDone done) override {
    executor_.Post(
        [done = std::move(done), answer = Answer(request)]() mutable { done(std::move(answer)); });
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

  Result<Bytes> Answer(const RpcRequest& request) {
    if (refusals_left_ > 0) {
      --refusals_left_;
      return ResourceExhausted("busy", Reason::kThrottled).RetryAfterMs(1000);
    }
    if (request.method.ends_with("/InitProducer")) {
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      return Bytes::Own(response.SerializeAsString());
    }
    ++describes_;
    v1::DescribeTopicsRequest asked;
    CHECK(asked.ParseFromArray(request.body.data(), static_cast<int>(request.body.size())));
    for (const std::string& name : asked.names()) {
      if (topics_.at(name) == 0) return NotFound("no topic " + name, Reason::kUnknownTopic);
    }
    return Bytes::Own(Describe(asked).SerializeAsString());
  }

  v1::DescribeTopicsResponse Describe(const v1::DescribeTopicsRequest& asked) const {
    v1::DescribeTopicsResponse response;
    for (uint32_t id = 1; id <= 2; ++id) {
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(id);
      broker.set_address("broker" + std::to_string(id));
    }
    for (const std::string& name : asked.names()) {
      v1::Topic& topic = *response.add_topics();
      topic.set_name(name);
      topic.set_topic_id(topics_.at(name));
      v1::Partition& partition = *topic.add_partitions();
      partition.set_leader_id(leader_);
      partition.set_leader_epoch(epoch_);
    }
    return response;
  }

  Executor& executor_;
  uint32_t leader_ = 1;
  uint64_t epoch_ = 1;
  size_t describes_ = 0;
  uint32_t refusals_left_ = 0;
  std::map<std::string, uint64_t> topics_{{"t", 5}, {"u", 6}};
  std::map<std::string, size_t> messages_;
};

class SilentBrokerTest : public testing::Test {
 protected:
  // A producer of `topic` that has sent one record, which nobody answers.
  std::unique_ptr<ProducerDriver> ProducerOf(const std::string& topic) {
    auto producer = std::make_unique<ProducerDriver>(
        client_, topic, ProducerTuning{},
        ProducerDriver::Callbacks{
            .on_report = [this,
                          topic](const DeliveryReport& report) { reports_[topic] = report.status; },
            .on_room = {}});
    bool is_open = false;
    producer->Open(seconds(10), [&](const Status& status) { is_open = status.ok(); });
    EXPECT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(10)));
    EXPECT_TRUE(producer->Send({.value = "x"}, process_.clock().Now()).ok());
    return producer;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  SilentBrokers brokers_{process_.executor()};
  Client client_{{process_.executor(), process_.clock(), brokers_, process_.Fork()},
                 {.bootstrap = {"broker1"}}};
  std::map<std::string, Status> reports_;  // the last of each topic
};

TEST_F(SilentBrokerTest, ProducerSendsAgainToTheNewLeader_WhenTheOldOneSaysNothing) {
  const auto producer = ProducerOf("t");
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker1") > 0; }, seconds(1)));
  brokers_.SetLeader(2);
  EXPECT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker2") > 0; }, seconds(3)));
}

TEST_F(SilentBrokerTest, DeletedTopic_EndsItsOwnProducer_AndNoOther) {
  const auto stays = ProducerOf("t");
  const auto ends = ProducerOf("u");
  brokers_.SetTopic("u", 0);
  ASSERT_TRUE(world_.RunUntil([&] { return reports_.contains("u"); }, seconds(60)));
  EXPECT_EQ(reports_["u"].code(), Code::kNotFound);
  brokers_.SetLeader(2);
  EXPECT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker2") > 0; }, seconds(60)));
  EXPECT_FALSE(reports_.contains("t"));
}

TEST_F(SilentBrokerTest, TopicMadeAnew_EndsTheProducerOfTheOldOne) {
  const auto producer = ProducerOf("t");
  brokers_.SetTopic("t", 9);
  ASSERT_TRUE(world_.RunUntil([&] { return reports_.contains("t"); }, seconds(60)));
  EXPECT_EQ(reports_["t"].reason(), Reason::kTopicDeleted);
}

TEST_F(SilentBrokerTest, BrokerThatStillKnowsTheOldTopicOfTheName_ChangesNothing) {
  const auto producer = ProducerOf("t");
  brokers_.SetTopic("t", 4);
  const size_t before = brokers_.describes();
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.describes() > before + 2; }, seconds(60)));
  EXPECT_FALSE(reports_.contains("t"));
}

TEST_F(SilentBrokerTest, BusyBroker_IsAskedAgain_WhenItSaid) {
  brokers_.RefuseCalls(2);
  const MonotonicTime before = process_.clock().Now();
  const auto producer = ProducerOf("t");
  EXPECT_GE(process_.clock().Now() - before, seconds(2));
}

TEST_F(SilentBrokerTest, ConsumerReadsAtTheNewLeader_WhenTheOldOneSaysNothing) {
  ConsumerDriver consumer(client_, "t", {}, [] {});
  bool is_open = false;
  consumer.Open(seconds(1), [&](const Status& status) { is_open = status.ok(); });
  ASSERT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(1)));
  ASSERT_TRUE(consumer.Assign(PartitionId(0), StartAt::Earliest()).ok());
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker1") > 0; }, seconds(1)));
  brokers_.SetLeader(2);
  EXPECT_TRUE(world_.RunUntil([&] { return brokers_.messages("broker2") > 0; }, seconds(3)));
}

TEST_F(SilentBrokerTest, ReaderOfAQuietPartitionAsksEverMoreRarely) {
  ConsumerDriver consumer(client_, "t", {}, [] {});
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

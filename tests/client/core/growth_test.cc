// A topic that gets more partitions while it is used: nothing is in trouble, so that producer and
// consumer learn of it by asking again from time to time, and nobody else asks at the same time.

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/core/consumer_driver.h"
#include "client/core/producer_driver.h"
#include "proto/record/key_hash.h"
#include "raft/runtime/task.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::client {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Two brokers with a topic "t", whose partitions the first leads. It stores what is produced, and
// remembers what is to be read; the records are in another test's hands.
class GrowingBrokers final : public Connector {
 public:
  explicit GrowingBrokers(Executor& executor) : executor_(executor) {}

  // What broker 1 tells, and broker 2, which may lag behind.
  void SetPartitions(uint32_t first, uint32_t second) {
    counts_["broker1"] = first;
    counts_["broker2"] = second;
  }
  // What is produced is answered when this is over.
  void HoldAnswers(bool holds) {
    holds_answers_ = holds;
    for (Task& answer : std::exchange(held_, {})) executor_.Post(std::move(answer));
  }
  size_t describes() const { return describes_; }
  // Where each partition that a consumer asked for is read from, as asked.
  const std::map<uint32_t, v1::Position>& reads() const { return reads_; }
  const std::vector<uint32_t>& produced() const { return produced_; }

  void Call(RpcRequest request, RpcDone done) override {
    executor_.Post([done = std::move(done), answer = Answer(request)]() mutable {
      done(Bytes::Own(std::move(answer)));
    });
  }

  std::unique_ptr<RpcStream> OpenStream(const std::string&, const std::string& method,
                                        RpcStreamHandler* handler) override {
    return std::make_unique<Stream>(*this, method.ends_with("/Fetch"), handler);
  }

 private:
  class Stream final : public RpcStream {
   public:
    Stream(GrowingBrokers& brokers, bool is_fetch, RpcStreamHandler* handler)
        : brokers_(brokers), is_fetch_(is_fetch), handler_(handler) {}
    ~Stream() override { *is_alive_ = false; }
    void Write(std::vector<Bytes> pieces) override {
      std::string message;
      for (const Bytes& piece : pieces) message += piece.view();
      is_fetch_ ? Read(message) : Store(message);
    }

   private:
    void Read(const std::string& message) {
      v1::FetchRequest request;
      CHECK(request.ParseFromString(message));
      for (const v1::FetchPartition& added : request.add()) {
        brokers_.reads_[added.partition()] = added.position();
      }
    }
    void Store(const std::string& message) {
      v1::ProduceRequest request;
      CHECK(request.ParseFromString(message));
      v1::ProduceResponse response;
      for (const v1::ProduceBatch& batch : request.batches()) {
        brokers_.produced_.push_back(batch.partition());
        response.add_results()->set_batch_id(batch.batch_id());
      }
      brokers_.held_.emplace_back([this, alive = is_alive_, response] {
        if (*alive) handler_->OnMessage(Bytes::Own(response.SerializeAsString()));
      });
      if (!brokers_.holds_answers_) brokers_.HoldAnswers(false);
    }

    GrowingBrokers& brokers_;
    const bool is_fetch_;
    RpcStreamHandler* const handler_;
    std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);  // shared with posted tasks
  };

  std::string Answer(const RpcRequest& request) {
    if (request.method.ends_with("/InitProducer")) {
      v1::InitProducerResponse response;
      response.set_producer_id(7);
      return response.SerializeAsString();
    }
    ++describes_;
    v1::DescribeTopicsResponse response;
    for (const auto& [address, count] : counts_) {
      v1::Broker& broker = *response.add_brokers();
      broker.set_broker_id(static_cast<uint32_t>(response.brokers_size()));
      broker.set_address(address);
    }
    v1::Topic& topic = *response.add_topics();
    topic.set_name("t");
    topic.set_topic_id(5);
    for (uint32_t number = 0; number < counts_.at(request.address); ++number) {
      v1::Partition& partition = *topic.add_partitions();
      partition.set_partition(number);
      partition.set_leader_id(1);
      partition.set_leader_epoch(1);
    }
    return response.SerializeAsString();
  }

  Executor& executor_;
  std::map<std::string, uint32_t> counts_{{"broker1", 2}, {"broker2", 2}};
  size_t describes_ = 0;
  std::map<uint32_t, v1::Position> reads_;
  std::vector<uint32_t> produced_;
  bool holds_answers_ = false;
  std::vector<Task> held_;
};

class GrowthTest : public testing::Test {
 protected:
  template <typename Driver>
  std::unique_ptr<Driver> Opened(std::unique_ptr<Driver> driver) {
    bool is_open = false;
    driver->Open(seconds(10), [&](const Status& status) { is_open = status.ok(); });
    EXPECT_TRUE(world_.RunUntil([&] { return is_open; }, seconds(1)));
    return driver;
  }
  std::unique_ptr<ConsumerDriver> OpenConsumer(std::function<void(PartitionId)> on_grown = {}) {
    return Opened(std::make_unique<ConsumerDriver>(
        client_, "t", ConsumerTuning{}, [] {}, std::move(on_grown)));
  }
  std::unique_ptr<ProducerDriver> OpenProducer(std::function<void()> on_grown = {}) {
    return Opened(std::make_unique<ProducerDriver>(
        client_, "t", ProducerTuning{},
        ProducerDriver::Callbacks{
            .on_report = [this](const DeliveryReport& r) { told_ += r.record_count; },
            .on_room = {},
            .on_grown = std::move(on_grown)}));
  }
  MonotonicTime now() const { return process_.clock().Now(); }

  sim::SimWorld world_{1};
  sim::SimProcess& process_{world_.AddProcess("client")};
  GrowingBrokers brokers_{process_.executor()};
  Client client_{{process_.executor(), process_.clock(), brokers_, process_.Fork()},
                 {.bootstrap = {"broker1"}}};
  uint64_t told_ = 0;
};

TEST_F(GrowthTest, WhatIsKnown_IsAskedForAgain_WhenItIsOld_AndNotBefore) {
  const auto consumer = OpenConsumer();
  ASSERT_EQ(brokers_.describes(), 1U);
  world_.RunFor(milliseconds(29'900));
  EXPECT_EQ(brokers_.describes(), 1U);
  world_.RunFor(milliseconds(3'200));
  EXPECT_EQ(brokers_.describes(), 2U);
  world_.RunFor(seconds(300));
  EXPECT_GE(brokers_.describes(), 11U);
  EXPECT_LE(brokers_.describes(), 12U);
}

TEST_F(GrowthTest, NobodyIsAsked_WhileNothingIsWatched_AndAgainOnceSomethingIs) {
  OpenConsumer();
  world_.RunFor(seconds(100));
  EXPECT_EQ(brokers_.describes(), 1U);
  const auto consumer = OpenConsumer();
  world_.RunFor(seconds(34));
  EXPECT_EQ(brokers_.describes(), 3U);
}

TEST_F(GrowthTest, HowOldIsOld_IsAnOption) {
  Client client({process_.executor(), process_.clock(), brokers_, process_.Fork()},
                {.bootstrap = {"broker1"}, .metadata_age_max = seconds(1)});
  const auto consumer =
      Opened(std::make_unique<ConsumerDriver>(client, "t", ConsumerTuning{}, [] {}));
  world_.RunFor(milliseconds(990));
  EXPECT_EQ(brokers_.describes(), 1U);
  world_.RunFor(milliseconds(120));
  EXPECT_EQ(brokers_.describes(), 2U);
}

TEST_F(GrowthTest, ClientsThatBeganTogether_DoNotAskTogether) {
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<ConsumerDriver>> consumers;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(
        Client::Environment{process_.executor(), process_.clock(), brokers_, process_.Fork()},
        ClientOptions{.bootstrap = {"broker1"}}));
    consumers.push_back(
        Opened(std::make_unique<ConsumerDriver>(*clients.back(), "t", ConsumerTuning{}, [] {})));
  }
  size_t most = 0;
  for (int step = 0; step < 400; ++step) {
    const size_t before = brokers_.describes();
    world_.RunFor(milliseconds(100));
    most = std::max(most, brokers_.describes() - before);
  }
  EXPECT_GE(brokers_.describes(), 20U);
  EXPECT_LE(most, 4U);
}

TEST_F(GrowthTest, AConsumer_ReadsPartitionsThatCome_FromTheirStart) {
  std::unique_ptr<ConsumerDriver> consumer;
  consumer = OpenConsumer([&consumer](PartitionId first) {
    for (uint32_t i = first.value(); i < consumer->partition_count(); ++i) {
      EXPECT_TRUE(consumer->Assign(PartitionId(i), StartAt::Earliest()).ok());
    }
  });
  ASSERT_TRUE(consumer->Assign(PartitionId(1), StartAt::Latest()).ok());
  brokers_.SetPartitions(4, 4);
  ASSERT_TRUE(world_.RunUntil([&] { return brokers_.reads().size() == 3; }, seconds(34)));
  EXPECT_TRUE(brokers_.reads().at(1).latest());
  EXPECT_TRUE(brokers_.reads().at(2).earliest());
  EXPECT_TRUE(brokers_.reads().at(3).earliest());
}

TEST_F(GrowthTest, AConsumerThatIsNotTold_ReadsOnWhatItReads) {
  const auto consumer = OpenConsumer();
  ASSERT_TRUE(consumer->Assign(PartitionId(0), StartAt::Earliest()).ok());
  EXPECT_FALSE(consumer->Assign(PartitionId(2), StartAt::Earliest()).ok());
  brokers_.SetPartitions(3, 3);
  ASSERT_TRUE(world_.RunUntil([&] { return consumer->partition_count() == 3; }, seconds(34)));
  world_.RunFor(seconds(1));
  EXPECT_EQ(brokers_.reads().size(), 1U);
  EXPECT_TRUE(consumer->Assign(PartitionId(2), StartAt::Earliest()).ok());
}

TEST_F(GrowthTest, ABrokerThatLagsBehind_TakesNoPartitionAway) {
  std::vector<uint32_t> firsts;
  const auto consumer = OpenConsumer([&](PartitionId first) { firsts.push_back(first.value()); });
  brokers_.SetPartitions(3, 2);
  world_.RunFor(seconds(200));  // both were asked, in turn
  EXPECT_EQ(consumer->partition_count(), 3U);
  EXPECT_EQ(firsts, std::vector<uint32_t>{2});
  brokers_.SetPartitions(3, 5);
  world_.RunFor(seconds(70));
  EXPECT_EQ(firsts, (std::vector<uint32_t>{2, 3}));
}

TEST_F(GrowthTest, AProducer_SendsToPartitionsThatCame_AndKeysGoWhereTheyGoNow) {
  std::unique_ptr<ProducerDriver> producer;
  uint32_t told_count = 0;
  producer = OpenProducer([&] { told_count = producer->partition_count(); });
  EXPECT_FALSE(producer->Send({.value = "x"}, now(), PartitionId(2)).ok());
  std::string key = "k";  // one that will move
  while (PartitionOfKey(key, 5).value() < 2) key += "k";
  EXPECT_EQ(producer->Send({.key = key, .value = "x"}, now()).value(), PartitionOfKey(key, 2));
  brokers_.SetPartitions(5, 5);
  ASSERT_TRUE(world_.RunUntil([&] { return told_count == 5; }, seconds(34)));
  const PartitionId moved = PartitionOfKey(key, 5);
  EXPECT_EQ(producer->Send({.key = key, .value = "x"}, now()).value(), moved);
  EXPECT_EQ(producer->Send({.value = "x"}, now(), PartitionId(4)).value(), PartitionId(4));
  bool is_flushed = false;
  producer->Flush([&] { is_flushed = true; });
  ASSERT_TRUE(world_.RunUntil([&] { return is_flushed; }, seconds(1)));
  EXPECT_EQ(told_, 3U);
  EXPECT_EQ(std::count(brokers_.produced().begin(), brokers_.produced().end(), moved.value()), 1);
}

TEST_F(GrowthTest, RecordsWithoutAKey_GoToPartitionsThatCame_Too) {
  std::unique_ptr<ProducerDriver> producer = OpenProducer();
  brokers_.SetPartitions(3, 3);
  ASSERT_TRUE(world_.RunUntil([&] { return producer->partition_count() == 3; }, seconds(34)));
  std::vector<uint32_t> counts(3);
  for (int i = 0; i < 100; ++i) ++counts[producer->Pick({}, Partitioner::kStickyBytes).value()];
  EXPECT_GT(counts[2], 10U);
}

// What it waits for was sent when there were fewer; what is sent to the new ones it does not wait
// for.
TEST_F(GrowthTest, AFlushThatBeganBefore_EndsWithWhatWasSentBefore) {
  const std::unique_ptr<ProducerDriver> producer = OpenProducer();
  brokers_.HoldAnswers(true);
  ASSERT_TRUE(producer->Send({.value = "x"}, now(), PartitionId(1)).ok());
  bool is_flushed = false;
  producer->Flush([&] { is_flushed = true; });
  brokers_.SetPartitions(3, 3);
  ASSERT_TRUE(world_.RunUntil([&] { return producer->partition_count() == 3; }, seconds(34)));
  EXPECT_FALSE(is_flushed);
  brokers_.HoldAnswers(false);
  ASSERT_TRUE(world_.RunUntil([&] { return told_ == 1; }, seconds(1)));
  brokers_.HoldAnswers(true);
  ASSERT_TRUE(producer->Send({.value = "x"}, now(), PartitionId(2)).ok());
  world_.RunFor(seconds(1));
  EXPECT_TRUE(is_flushed);
  EXPECT_EQ(told_, 1U);
}

}  // namespace
}  // namespace millrace::client

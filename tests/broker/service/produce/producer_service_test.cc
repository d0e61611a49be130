// Producer ids at a cluster of three brokers: those that a broker gave are taken by all, others by
// none.

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "proto/record/record_batch_builder.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

constexpr char kInitProducer[] = "/millrace.v1.ProducerService/InitProducer";

class ProducerServiceTest : public ::testing::Test {
 protected:
  ProducerServiceTest() : rig(1) {
    rig.CreateTopic("t", 1);
    topic = rig.TopicIdOf("t");
  }

  struct Stamp {
    ProducerId id;
    uint32_t epoch = 0;
    uint32_t first_sequence = 0;
  };
  // A batch of one record, sent to `broker`.
  v1::ProduceResult Produce(size_t broker, const Stamp& stamp) {
    RecordBatchBuilder builder({});
    CHECK(builder.TryAppend({.value = "v"}));
    return rig.Produce(broker, "t",
                       std::move(builder).Finish({.producer_id = stamp.id,
                                                  .producer_epoch = stamp.epoch,
                                                  .first_sequence = stamp.first_sequence,
                                                  .destination = {topic, PartitionId(0)}}));
  }
  Result<v1::InitProducerResponse> Raise(size_t broker, ProducerId id, uint32_t epoch) {
    v1::InitProducerRequest request;
    request.set_producer_id(id.value());
    request.set_producer_epoch(epoch);
    return rig.Call<v1::InitProducerResponse>(broker, kInitProducer, request);
  }

  ServiceRig rig;
  TopicId topic;
};

TEST_F(ProducerServiceTest, AnIdThatABrokerGave_IsTakenByAll) {
  int64_t offset = 0;
  for (size_t giver = 0; giver < rig.cluster.size(); ++giver) {
    for (size_t taker = 0; taker < rig.cluster.size(); ++taker) {
      const v1::ProduceResult result = Produce(taker, {.id = rig.InitProducer(giver)});
      ASSERT_FALSE(result.has_error()) << result.error().ShortDebugString();
      EXPECT_FALSE(result.is_duplicate());
      EXPECT_EQ(result.base_offset(), offset++);
    }
  }
}

TEST_F(ProducerServiceTest, AnIdThatNobodyGave_IsRefused_AlsoOutOfABlockThatIsGivenOut) {
  const ProducerId given = rig.InitProducer(0);
  const uint64_t mark = given.value() >> kProducerNumberBits << kProducerNumberBits;
  for (const uint64_t made_up : {uint64_t{7}, ProducerNumber(given), given.value() + 1,
                                 given.value() + 500, mark, mark | uint64_t{1} << 30}) {
    for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
      const v1::ProduceResult result = Produce(broker, {.id = ProducerId(made_up)});
      EXPECT_EQ(result.error().code(), static_cast<int>(Code::kNotFound)) << made_up;
      EXPECT_EQ(result.error().info().reason(), "UNKNOWN_PRODUCER");
      EXPECT_EQ(Raise(broker, ProducerId(made_up), 0).status().code(), Code::kNotFound) << made_up;
    }
  }
  // Who gets the number later is not taken for somebody who repeats.
  const v1::ProduceResult next = Produce(0, {.id = rig.InitProducer(0)});
  EXPECT_FALSE(next.has_error()) << next.error().ShortDebugString();
  EXPECT_FALSE(next.is_duplicate());
}

TEST_F(ProducerServiceTest, AnIdIsGood_AfterAllBrokersWereStartedAnew) {
  const ProducerId given = rig.InitProducer(1);
  for (size_t i = 0; i < rig.cluster.size(); ++i) rig.cluster.Kill(i, /*power_loss=*/true);
  rig.cluster.StartAll();
  rig.LeaderOf("t", 0);
  const v1::ProduceResult result = Produce(0, {.id = given});
  EXPECT_FALSE(result.has_error()) << result.error().ShortDebugString();
  EXPECT_NE(rig.InitProducer(1), given);
}

TEST_F(ProducerServiceTest, AnEpochPastTheLast_IsRefused_AndFencesNobody) {
  const ProducerId given = rig.InitProducer(0);
  for (const uint32_t epoch : {kProducerEpochMax + 1, uint32_t{1} << 31, ~uint32_t{0}}) {
    const v1::ProduceResult result = Produce(0, {.id = given, .epoch = epoch});
    EXPECT_EQ(result.error().code(), static_cast<int>(Code::kInvalidArgument)) << epoch;
    EXPECT_EQ(Raise(0, given, epoch).status().code(), Code::kInvalidArgument) << epoch;
  }
  EXPECT_FALSE(Produce(0, {.id = given}).has_error());
}

TEST_F(ProducerServiceTest, AfterTheLastEpoch_AnotherIdIsGiven) {
  const ProducerId given = rig.InitProducer(0);
  const auto last = Raise(0, given, kProducerEpochMax - 1);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_EQ(last->producer_id(), given.value());
  EXPECT_EQ(last->producer_epoch(), kProducerEpochMax);
  EXPECT_FALSE(Produce(0, {.id = given, .epoch = kProducerEpochMax}).has_error());
  const auto other = Raise(0, given, kProducerEpochMax);
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_NE(other->producer_id(), given.value());
  EXPECT_EQ(other->producer_epoch(), 0u);
  EXPECT_FALSE(Produce(0, {.id = ProducerId(other->producer_id())}).has_error());
}

TEST_F(ProducerServiceTest, ManyWhoAskAtOnce_UseUpOneBlock) {
  const uint64_t before = rig.cluster.node(0).controller().image().next_producer_number();
  std::vector<std::optional<ProducerId>> ids(100);
  for (std::optional<ProducerId>& id : ids) {
    rig.connector.Call(
        {.address = rig.cluster.addresses()[0],
         .method = kInitProducer,
         .body = Bytes(),
         .timeout = std::chrono::seconds(20)},
        [&id](Result<Bytes> body) {
          CHECK(body.ok()) << body.status();
          v1::InitProducerResponse response;
          CHECK(response.ParseFromArray(body->data(), static_cast<int>(body->size())));
          id = ProducerId(response.producer_id());
        });
  }
  const auto all_have = [&ids] {
    return std::all_of(ids.begin(), ids.end(), [](const auto& id) { return id.has_value(); });
  };
  ASSERT_TRUE(rig.world.RunUntil(all_have, kRigTimeMax));
  EXPECT_EQ(rig.cluster.node(0).controller().image().next_producer_number(),
            before + kProducerIdBlock);
  EXPECT_EQ(std::set(ids.begin(), ids.end()).size(), ids.size());
}

}  // namespace
}  // namespace millrace::broker

// Offsets by timestamp, asked of any broker, also after the leader has died.

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "raft/runtime/random.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

// Stores a batch a call, with the times given.
void Publish(ServiceRig& rig, const std::vector<std::vector<int64_t>>& batches) {
  for (const std::vector<int64_t>& times : batches) {
    v1::PublishRequest request;
    request.set_topic("t");
    for (const int64_t time : times) request.add_records()->set_timestamp_ms(time);
    const auto response =
        rig.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request);
    ASSERT_TRUE(response.ok()) << response.status();
    ASSERT_FALSE(response->results(0).has_error());
  }
}

v1::PartitionOffsets OffsetsAt(ServiceRig& rig, size_t broker, int64_t timestamp_ms) {
  v1::ListOffsetsRequest request;
  request.set_topic("t");
  request.set_timestamp_ms(timestamp_ms);
  const auto response = rig.Call<v1::ListOffsetsResponse>(
      broker, "/millrace.v1.ConsumerService/ListOffsets", request);
  CHECK(response.ok()) << response.status();
  CHECK(response->partitions(0).has_timestamp_offset()) << response->ShortDebugString();
  return response->partitions(0);
}

int64_t OffsetAt(ServiceRig& rig, size_t broker, int64_t timestamp_ms) {
  return OffsetsAt(rig, broker, timestamp_ms).timestamp_offset();
}

void ExpectOffsets(ServiceRig& rig, size_t broker) {
  const std::vector<std::pair<int64_t, int64_t>> expected = {
      {-1, 0}, {0, 0}, {100, 0}, {101, 2}, {103, 2}, {104, 4}, {111, 6}, {120, 6}};
  for (const auto& [time, offset] : expected) {
    EXPECT_EQ(OffsetAt(rig, broker, time), offset) << "time=" << time << " broker=" << broker;
  }
}

TEST(ListOffsets, AnyBroker_FindsTheFirstRecordOfATime_InsideItsBatch_AlsoAfterTheLeadersDeath) {
  ServiceRig rig(1);
  rig.CreateTopic("t", 1);
  Publish(rig, {{100, 90, 103}, {80, 110}, {70}, {120, 60}});
  for (size_t broker = 0; broker < 3; ++broker) ExpectOffsets(rig, broker);
  const size_t leader = rig.LeaderOf("t", 0);
  rig.cluster.Kill(leader, /*power_loss=*/true);
  rig.LeaderOf("t", 0);
  for (size_t broker = 0; broker < 3; ++broker) {
    if (broker != leader) ExpectOffsets(rig, broker);
  }
}

TEST(ListOffsets, AnyBroker_TellsTheFoundRecordsTime_AndTheEpochOfItsLeader_NotOfTheNextOne) {
  ServiceRig rig(1);
  rig.CreateTopic("t", 1);
  Publish(rig, {{100, 90, 103}});
  const size_t leader = rig.LeaderOf("t", 0);
  const uint64_t first_epoch = OffsetsAt(rig, leader, 0).leader_epoch();
  rig.cluster.Kill(leader, /*power_loss=*/true);
  rig.LeaderOf("t", 0);
  rig.cluster.Start(leader);
  ASSERT_TRUE(rig.world.RunUntil([&] { return rig.cluster.is_serving(leader); }, kRigTimeMax));
  rig.LeaderOf("t", 0);
  Publish(rig, {{80, 110}});
  for (size_t broker = 0; broker < 3; ++broker) {
    const v1::PartitionOffsets older = OffsetsAt(rig, broker, 101);
    EXPECT_EQ(older.found_timestamp_ms(), 103);
    EXPECT_EQ(older.found_leader_epoch(), first_epoch);
    const v1::PartitionOffsets newer = OffsetsAt(rig, broker, 104);
    EXPECT_EQ(newer.found_timestamp_ms(), 110);
    EXPECT_EQ(newer.found_leader_epoch(), newer.leader_epoch());
    EXPECT_GT(newer.found_leader_epoch(), first_epoch);
    const v1::PartitionOffsets none = OffsetsAt(rig, broker, 111);
    EXPECT_FALSE(none.has_found_timestamp_ms() || none.has_found_leader_epoch());
  }
}

// 1,500 records of a thousand bytes, of which memory does not hold all: the times, which wander.
std::vector<int64_t> PublishManyBatches(ServiceRig& rig) {
  Random random(3);
  std::vector<int64_t> times;
  v1::PublishRequest request;
  request.set_topic("t");
  for (int batch = 0; batch < 150; ++batch) {
    request.clear_records();
    for (int i = 0; i < 10; ++i) {
      times.push_back(static_cast<int64_t>(1000 + times.size() / 4 + random.Below(100)));
      v1::Record& record = *request.add_records();
      record.set_timestamp_ms(times.back());
      record.set_value(std::string(1000, 'x'));
    }
    const auto response =
        rig.Call<v1::PublishResponse>(0, "/millrace.v1.ProducerService/Publish", request);
    CHECK(response.ok() && !response->results(0).has_error());
  }
  return times;
}

TEST(ListOffsets, ALogThatMemoryDoesNotHold_AnswersAsALookAtEveryRecord_AlsoAfterARestart) {
  ServiceRig rig(3, 1);  // with a tail and segments of 256 KiB
  rig.CreateTopic("t", 1);
  const std::vector<int64_t> times = PublishManyBatches(rig);
  for (const bool is_restarted : {false, true}) {
    if (is_restarted) {
      rig.world.RunFor(std::chrono::seconds(5));
      rig.cluster.Kill(0, /*power_loss=*/true);
      rig.cluster.Start(0);
      ASSERT_TRUE(rig.world.RunUntil([&] { return rig.cluster.is_serving(0); }, kRigTimeMax));
      rig.LeaderOf("t", 0);
    }
    for (int64_t time = 990; time < 1490; time += 3) {
      const auto first =
          std::find_if(times.begin(), times.end(), [time](int64_t at) { return at >= time; });
      const v1::PartitionOffsets found = OffsetsAt(rig, 0, time);
      ASSERT_EQ(found.timestamp_offset(), first - times.begin()) << "time=" << time;
      ASSERT_EQ(found.has_found_timestamp_ms(), first != times.end()) << "time=" << time;
      if (first != times.end()) {
        ASSERT_EQ(found.found_timestamp_ms(), *first);
      }
    }
  }
}

TEST(ListOffsets, ALeaderThatStandsStill_CostsItsPartitionsAlone_WithinTheCallsTime) {
  ServiceRig rig(4);
  rig.CreateTopic("t", 12);
  const size_t stopped = rig.LeaderOf("t", 0);
  const size_t asked = (stopped + 1) % 3;
  std::vector<bool> is_led_there;
  for (uint32_t i = 0; i < 12; ++i) is_led_there.push_back(rig.LeaderOf("t", i) == stopped);
  ASSERT_TRUE(std::count(is_led_there.begin(), is_led_there.end(), false) > 0);
  rig.cluster.process(stopped).Pause();
  v1::ListOffsetsRequest request;
  request.set_topic("t");
  const auto response = rig.Call<v1::ListOffsetsResponse>(
      asked, "/millrace.v1.ConsumerService/ListOffsets", request, kLessThanPeersKeepAlive);
  ASSERT_TRUE(response.ok()) << response.status();
  for (const auto& partition : response->partitions()) {
    EXPECT_EQ(partition.has_error(), is_led_there[partition.partition()])
        << partition.ShortDebugString();
  }
  rig.cluster.process(stopped).Resume();
}

TEST(ListOffsets, ARecordThatCameWhileTheLookupWaitedForItsTurn_IsNoneThatWasFound) {
  ServiceRig rig(3, 1);
  rig.CreateTopic("t", 1);
  PublishManyBatches(rig);
  v1::ListOffsetsRequest others;
  others.set_topic("t");
  others.set_timestamp_ms(1000);
  for (int i = 0; i < 1000; ++i) others.add_partitions(0);  // each reads a segment
  v1::ListOffsetsRequest late;
  late.set_topic("t");
  late.set_timestamp_ms(5000);
  v1::PublishRequest publish;
  publish.set_topic("t");
  publish.add_records()->set_timestamp_ms(5000);
  const auto send = [&](const std::string& method, const auto& request, client::RpcDone done) {
    rig.connector.Call({.address = rig.cluster.addresses()[0],
                        .method = "/millrace.v1." + method,
                        .body = Bytes::Own(request.SerializeAsString()),
                        .timeout = kRigTimeMax},
                       std::move(done));
  };
  v1::ListOffsetsResponse response;
  bool is_stored_before = false;
  send("ConsumerService/ListOffsets", others, [](const Result<Bytes>&) {});
  send("ConsumerService/ListOffsets", late, [&](const Result<Bytes>& answer) {
    CHECK(answer.ok() && response.ParseFromString(std::string(answer->view())));
  });
  rig.world.RunFor(std::chrono::milliseconds(1));  // it has come, and waits behind the others
  send("ProducerService/Publish", publish,
       [&](const Result<Bytes>&) { is_stored_before = response.partitions().empty(); });
  ASSERT_TRUE(rig.world.RunUntil([&] { return !response.partitions().empty(); }, kRigTimeMax));
  EXPECT_TRUE(is_stored_before) << "or else this shows nothing";
  EXPECT_EQ(response.partitions(0).timestamp_offset(), 1500);
  EXPECT_EQ(response.partitions(0).high_watermark(), 1500);
  EXPECT_FALSE(response.partitions(0).has_found_timestamp_ms()) << response.ShortDebugString();
}

TEST(ListOffsets, ARecordWithoutATimestamp_CountsWithItsAppendTime) {
  ServiceRig rig(2);
  rig.CreateTopic("t", 1);
  const int64_t before = rig.client.clock().WallMs() - 10'000;
  Publish(rig, {{5, 0, 7}});
  EXPECT_EQ(OffsetAt(rig, 0, 6), 1);
  EXPECT_EQ(OffsetAt(rig, 0, before), 1);
  EXPECT_GT(OffsetsAt(rig, 0, before).found_timestamp_ms(), before);
  EXPECT_EQ(OffsetAt(rig, 0, before + 1'000'000), 3);
}

}  // namespace
}  // namespace millrace::broker

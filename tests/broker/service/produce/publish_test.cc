// Publish calls at brokers that lead the partitions and at others.

#include <map>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/api/request_limits.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/record/key_hash.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using ::testing::HasSubstr;

constexpr char kPublish[] = "/millrace.v1.ProducerService/Publish";
constexpr char kListOffsets[] = "/millrace.v1.ConsumerService/ListOffsets";

v1::PublishRequest Request(const std::string& topic) {
  v1::PublishRequest request;
  request.set_topic(topic);
  return request;
}

v1::Record* AddRecord(v1::PublishRequest* request, const std::string& key) {
  v1::Record* record = request->add_records();
  record->set_key(key);
  record->set_value("value of " + key);
  return record;
}

int64_t HighWatermark(ServiceRig& rig, const std::string& topic, uint32_t partition) {
  v1::ListOffsetsRequest request;
  request.set_topic(topic);
  request.add_partitions(partition);
  const auto offsets = rig.Call<v1::ListOffsetsResponse>(0, kListOffsets, request);
  CHECK(offsets.ok()) << offsets.status();
  return offsets->partitions(0).high_watermark();
}

TEST(Publish, RecordsWithKeys_GoByTheirHash_AndResultsStandInTheRequestsOrder_AtAnyBroker) {
  ServiceRig rig(1);
  rig.CreateTopic("t", 4);
  std::map<uint32_t, int64_t> next;
  for (size_t broker = 0; broker < 3; ++broker) {
    v1::PublishRequest request = Request("t");
    for (int i = 0; i < 50; ++i) AddRecord(&request, "key " + std::to_string(i));
    const auto response = rig.Call<v1::PublishResponse>(broker, kPublish, request);
    ASSERT_TRUE(response.ok()) << response.status();
    ASSERT_EQ(response->results_size(), 50);
    for (int i = 0; i < 50; ++i) {
      const v1::PublishResult& result = response->results(i);
      ASSERT_FALSE(result.has_error()) << result.error().message();
      EXPECT_EQ(result.partition(), PartitionOfKey(request.records(i).key(), 4).value());
      EXPECT_EQ(result.offset(), next[result.partition()]++);
    }
  }
  for (const auto& [partition, end] : next) EXPECT_EQ(HighWatermark(rig, "t", partition), end);
}

TEST(Publish, ARecordWithoutAKey_FailsThoseThatGoWithIt_WhereKeysAreCompacted_AtAnyBroker) {
  ServiceRig rig(1);
  rig.CreateTopic("t", 2, {{"cleanup", "compact"}});
  const std::set<uint32_t> both{0, 1};
  for (size_t broker = 0; broker < 3; ++broker) {
    v1::PublishRequest request = Request("t");
    for (int i = 0; i < 20; ++i) AddRecord(&request, "key " + std::to_string(i));
    request.add_records()->set_value("no key");
    const auto response = rig.Call<v1::PublishResponse>(broker, kPublish, request);
    ASSERT_TRUE(response.ok()) << response.status();
    const uint32_t refusing = response->results(20).partition();
    std::set<uint32_t> seen;
    for (const v1::PublishResult& result : response->results()) {
      EXPECT_EQ(result.has_error(), result.partition() == refusing);
      seen.insert(result.partition());
    }
    EXPECT_EQ(seen, both);
    const v1::Error& error = response->results(20).error();
    EXPECT_THAT(error.message(), HasSubstr("record 20 has no key"));
    EXPECT_EQ(error.code(), static_cast<int>(Code::kInvalidArgument));
  }
}

TEST(Publish, RecordsWithoutKeys_StayTogether_AndCallsTakePartitionsInTurn) {
  ServiceRig rig(2);
  rig.CreateTopic("t", 3);
  std::set<uint32_t> picked;
  for (int call = 0; call < 3; ++call) {
    v1::PublishRequest request = Request("t");
    for (int i = 0; i < 5; ++i) request.add_records()->set_value("v");
    const auto response = rig.Call<v1::PublishResponse>(0, kPublish, request);
    ASSERT_TRUE(response.ok()) << response.status();
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(response->results(i).partition(), response->results(0).partition());
      EXPECT_EQ(response->results(i).offset(), i);
    }
    picked.insert(response->results(0).partition());
  }
  EXPECT_EQ(picked.size(), 3u);
}

TEST(Publish, AGivenPartition_TakesAll_WhateverTheKey) {
  ServiceRig rig(3);
  rig.CreateTopic("t", 4);
  v1::PublishRequest request = Request("t");
  request.set_partition(2);
  for (int i = 0; i < 10; ++i) AddRecord(&request, std::to_string(i));
  request.add_records();
  const auto response = rig.Call<v1::PublishResponse>(1, kPublish, request);
  ASSERT_TRUE(response.ok()) << response.status();
  for (int i = 0; i < 11; ++i) {
    EXPECT_EQ(response->results(i).partition(), 2u);
    EXPECT_EQ(response->results(i).offset(), i);
  }
}

TEST(Publish, ABadRequest_FailsWhole_NamesWhatIsWrong_AndStoresNothing) {
  ServiceRig rig(4, 1);
  rig.CreateTopic("t", 1);
  const auto complaint = [&rig](const v1::PublishRequest& request, Code code) {
    const auto response = rig.Call<v1::PublishResponse>(0, kPublish, request);
    EXPECT_EQ(response.status().code(), code) << response.status();
    return std::string(response.status().message());
  };
  EXPECT_THAT(complaint(Request("t"), Code::kInvalidArgument), HasSubstr("`records` is empty"));

  v1::PublishRequest request = Request("absent");
  AddRecord(&request, "k");
  EXPECT_THAT(complaint(request, Code::kNotFound), HasSubstr("\"absent\""));
  request.set_topic("");
  EXPECT_THAT(complaint(request, Code::kInvalidArgument), HasSubstr("neither topic nor topic_id"));
  request.set_topic("t");
  request.set_partition(7);
  EXPECT_THAT(complaint(request, Code::kNotFound), HasSubstr("no partition 7"));

  request.clear_partition();
  AddRecord(&request, "bad")->set_offset_delta(1);
  EXPECT_THAT(complaint(request, Code::kInvalidArgument), HasSubstr("record 1: offset_delta"));
  request.mutable_records(1)->set_offset_delta(0);
  request.mutable_records(1)->set_timestamp_ms(-1);
  EXPECT_THAT(complaint(request, Code::kInvalidArgument), HasSubstr("record 1: timestamp_ms"));

  request.clear_records();
  for (size_t i = 0; i <= kNamedPerMessageMax; ++i) request.add_records();
  EXPECT_THAT(complaint(request, Code::kInvalidArgument), HasSubstr("10000"));
  EXPECT_EQ(HighWatermark(rig, "t", 0), 0);
}

// To a broker that leads, and to two that pass the call on.
TEST(Publish, AnExpectedEnd_DecidesWhetherAllIsStoredThereOrNothing) {
  ServiceRig rig(8);
  rig.CreateTopic("t", 2);
  v1::PublishRequest request = Request("t");
  request.set_partition(1);
  AddRecord(&request, "a");
  AddRecord(&request, "b");
  for (size_t broker = 0; broker < 3; ++broker) {
    const auto end = static_cast<int64_t>(2 * broker);
    request.set_expected_end_offset(end);
    const auto stored = rig.Call<v1::PublishResponse>(broker, kPublish, request);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_EQ(stored->results(0).offset(), end) << stored->results(0).error().message();
    EXPECT_EQ(stored->results(1).offset(), end + 1);
    const auto refused = rig.Call<v1::PublishResponse>(broker, kPublish, request);
    ASSERT_TRUE(refused.ok()) << refused.status();
    for (const v1::PublishResult& result : refused->results()) {
      EXPECT_EQ(result.error().code(), static_cast<int>(Code::kFailedPrecondition));
      EXPECT_EQ(result.error().info().reason(), "OFFSET_MOVED");
      EXPECT_EQ(result.error().info().metadata().at("end_offset"), std::to_string(end + 2));
    }
  }
  EXPECT_EQ(HighWatermark(rig, "t", 1), 6);
}

TEST(Publish, AnExpectedEnd_NeedsAPartition) {
  ServiceRig rig(9, 1);
  rig.CreateTopic("t", 1);
  v1::PublishRequest request = Request("t");
  AddRecord(&request, "k");
  request.set_expected_end_offset(0);
  const auto anywhere = rig.Call<v1::PublishResponse>(0, kPublish, request);
  EXPECT_EQ(anywhere.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(anywhere.status().message()), HasSubstr("expected_end_offset"));
  request.set_partition(0);
  request.set_expected_end_offset(-1);
  const auto negative = rig.Call<v1::PublishResponse>(0, kPublish, request);
  EXPECT_EQ(negative.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(HighWatermark(rig, "t", 0), 0);
}

TEST(Publish, APartitionThatRefuses_FailsItsRecordsAlone) {
  ServiceRig rig(5);
  rig.CreateTopic("t", 2);
  v1::PublishRequest request = Request("t");
  for (int i = 0; i < 20; ++i) AddRecord(&request, std::to_string(i));
  // Larger than a batch may be, and so is the batch that it is in.
  request.mutable_records(3)->set_value(std::string(2 << 20, 'x'));
  const uint32_t refusing = PartitionOfKey(request.records(3).key(), 2).value();
  const auto response = rig.Call<v1::PublishResponse>(0, kPublish, request);
  ASSERT_TRUE(response.ok()) << response.status();
  for (const v1::PublishResult& result : response->results()) {
    EXPECT_EQ(result.has_error(), result.partition() == refusing);
    EXPECT_EQ(result.error().info().reason(), result.has_error() ? "BATCH_TOO_LARGE" : "");
  }
  EXPECT_EQ(HighWatermark(rig, "t", refusing), 0);
}

TEST(Publish, APartitionWithoutAMajority_FailsItsRecords_WithinTheCallsTime) {
  ServiceRig rig(6);
  rig.CreateTopic("t", 1);
  const size_t leader = rig.LeaderOf("t", 0);
  for (size_t broker = 0; broker < 3; ++broker) {
    if (broker != leader) rig.cluster.Kill(broker, /*power_loss=*/false);
  }
  v1::PublishRequest request = Request("t");
  AddRecord(&request, "k");
  const Duration begin = rig.world.elapsed();
  const auto response =
      rig.Call<v1::PublishResponse>(leader, kPublish, request, std::chrono::seconds(3));
  EXPECT_LE(rig.world.elapsed() - begin, std::chrono::milliseconds(3100));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->results(0).has_error());
}

TEST(Publish, ALeaderThatStandsStill_FailsItsRecordsAlone_WithinTheCallsTime) {
  ServiceRig rig(7);
  rig.CreateTopic("t", 6);
  const size_t stopped = rig.LeaderOf("t", 0);
  v1::PublishRequest request = Request("t");
  std::map<uint32_t, bool> is_led_there;
  for (int i = 0; i < 24; ++i) AddRecord(&request, "k" + std::to_string(i));
  for (uint32_t i = 0; i < 6; ++i) is_led_there[i] = rig.LeaderOf("t", i) == stopped;
  rig.cluster.process(stopped).Pause();
  const auto response =
      rig.Call<v1::PublishResponse>((stopped + 1) % 3, kPublish, request, kLessThanPeersKeepAlive);
  ASSERT_TRUE(response.ok()) << response.status();
  for (const v1::PublishResult& result : response->results()) {
    EXPECT_EQ(result.has_error(), is_led_there[result.partition()]) << result.ShortDebugString();
  }
  rig.cluster.process(stopped).Resume();
}

}  // namespace
}  // namespace millrace::broker

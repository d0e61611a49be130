// Subscribe calls: at any broker, through changes of leaders, within bounded memory.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/coverage.h"
#include "proto/record/record_batch_builder.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr char kPublish[] = "/millrace.v1.ProducerService/Publish";
constexpr char kSubscribe[] = "/millrace.v1.ConsumerService/Subscribe";

// By partition, each record's offset and value, as they came.
using Received = std::map<uint32_t, std::vector<std::pair<int64_t, std::string>>>;

size_t CountOf(const Received& received) {
  size_t count = 0;
  for (const auto& [partition, records] : received) count += records.size();
  return count;
}

void Take(const Bytes& message, Received* received) {
  v1::SubscribeResponse response;
  CHECK(response.ParseFromArray(message.data(), static_cast<int>(message.size())));
  for (const v1::SubscribedRecord& record : response.records()) {
    EXPECT_GT(record.append_time_ms(), 0);
    (*received)[record.partition()].emplace_back(record.offset(), record.record().value());
  }
}

// A client's end of one call.
class Subscription final : public client::RpcStreamHandler {
 public:
  Subscription(ServiceRig& rig, size_t broker, const v1::SubscribeRequest& request)
      : stream_(rig.connector.OpenStream(rig.cluster.addresses()[broker], kSubscribe, this)) {
    stream_->Write({Bytes::Own(request.SerializeAsString())});
  }
  void OnMessage(Bytes message) override { Take(message, &received); }
  void OnClosed(const Status& why) override { status = why; }
  // The simulated edge tells a client of an end with OK like this.
  bool HasEndedWell() const {
    return status.has_value() && status->message() == "the stream has ended";
  }

  Received received;
  std::optional<Status> status;

 private:
  std::unique_ptr<client::RpcStream> stream_;
};

v1::SubscribeRequest Request(const std::string& topic) {
  v1::SubscribeRequest request;
  request.set_topic(topic);
  return request;
}

// Publishes until it succeeds; the values are "PARTITION.NUMBER", by partition from `first` on.
void Publish(ServiceRig& rig, size_t broker, uint32_t partition, int first, int count) {
  v1::PublishRequest request;
  request.set_topic("t");
  request.set_partition(partition);
  for (int i = first; i < first + count; ++i) {
    request.add_records()->set_value(std::to_string(partition) + "." + std::to_string(i));
  }
  for (int attempt = 0; attempt < 200; ++attempt) {
    const auto response = rig.Call<v1::PublishResponse>(broker, kPublish, request);
    if (response.ok() && !response->results(0).has_error()) return;
    rig.world.RunFor(milliseconds(50));
  }
  FAIL() << "nothing can be published";
}

// The records [from, to) of a partition that Publish filled.
std::vector<std::pair<int64_t, std::string>> Expected(uint32_t partition, int from, int to) {
  std::vector<std::pair<int64_t, std::string>> records;
  for (int i = from; i < to; ++i) {
    records.emplace_back(i, std::to_string(partition) + "." + std::to_string(i));
  }
  return records;
}

TEST(Subscribe, AtAnyBroker_AllPartitionsFromTheirBeginning_ThenTheCallEnds) {
  ServiceRig rig(1);
  rig.CreateTopic("t", 4);
  for (uint32_t partition = 0; partition < 3; ++partition) {  // one stays empty
    for (int batch = 0; batch < 20; ++batch) Publish(rig, 0, partition, batch * 5, 5);
  }
  v1::SubscribeRequest request = Request("t");
  request.mutable_position()->set_earliest(true);
  request.set_stop_at_end(true);
  for (size_t broker = 0; broker < 3; ++broker) {
    Subscription call(rig, broker, request);
    ASSERT_TRUE(rig.world.RunUntil([&] { return call.status.has_value(); }, seconds(10)));
    EXPECT_TRUE(call.HasEndedWell()) << *call.status;
    EXPECT_EQ(call.received.size(), 3u);
    for (const auto& [partition, records] : call.received) {
      EXPECT_EQ(records, Expected(partition, 0, 100));
    }
  }
}

TEST(Subscribe, FromAnOffset_BeginsInsideABatch_AndStopsAtTheEndThatWas) {
  ServiceRig rig(2);
  rig.CreateTopic("t", 2);
  Publish(rig, 0, 1, 0, 10);
  Publish(rig, 0, 1, 10, 10);
  v1::SubscribeRequest request = Request("t");
  request.add_partitions(1);
  request.mutable_position()->set_offset(7);
  request.set_stop_at_end(true);
  Subscription call(rig, 2, request);
  ASSERT_TRUE(rig.world.RunUntil([&] { return call.status.has_value(); }, seconds(10)));
  EXPECT_TRUE(call.HasEndedWell()) << *call.status;
  EXPECT_EQ(call.received[1], Expected(1, 7, 20));
}

TEST(Subscribe, WithoutAPosition_GetsWhatComesLater) {
  ServiceRig rig(3);
  rig.CreateTopic("t", 2);
  Publish(rig, 0, 0, 0, 3);
  Subscription call(rig, 1, Request("t"));
  rig.world.RunFor(seconds(7));  // longer than one wait at the leader
  EXPECT_TRUE(call.received.empty());
  for (uint32_t partition = 0; partition < 2; ++partition) {
    Publish(rig, 2, partition, partition == 0 ? 3 : 0, 2);
  }
  ASSERT_TRUE(rig.world.RunUntil([&] { return CountOf(call.received) == 4; }, seconds(2)));
  EXPECT_EQ(call.received[0], Expected(0, 3, 5));
  EXPECT_EQ(call.received[1], Expected(1, 0, 2));
  EXPECT_FALSE(call.status.has_value());
}

TEST(Subscribe, GoesOnAfterTheLeadersDeath_WithNothingLostOrTwice) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    ServiceRig rig(seed);
    rig.CreateTopic("t", 1);
    const size_t first_leader = rig.LeaderOf("t", 0);
    const size_t asked = (first_leader + 1) % 3;
    Publish(rig, asked, 0, 0, 10);
    v1::SubscribeRequest request = Request("t");
    request.mutable_position()->set_earliest(true);
    Subscription call(rig, asked, request);
    ASSERT_TRUE(rig.world.RunUntil([&] { return CountOf(call.received) == 10; }, seconds(5)));
    rig.cluster.Kill(first_leader, /*power_loss=*/true);
    ASSERT_NE(rig.LeaderOf("t", 0), first_leader);
    Publish(rig, asked, 0, 10, 10);
    ASSERT_TRUE(rig.world.RunUntil([&] { return CountOf(call.received) >= 20; }, seconds(20)));
    EXPECT_EQ(call.received[0], Expected(0, 0, 20));
    EXPECT_FALSE(call.status.has_value());
  }
}

// Deletes the records of partition 0 below `before`, and is not waited for.
void BeginDeletion(ServiceRig& rig, int before) {
  v1::DeleteRecordsRequest request;
  request.set_topic("t");
  request.add_partitions()->set_before_offset(before);
  rig.connector.Call({.address = rig.cluster.addresses()[rig.LeaderOf("t", 0)],
                      .method = "/millrace.v1.AdminService/DeleteRecords",
                      .body = Bytes::Own(request.SerializeAsString()),
                      .timeout = seconds(20)},
                     [](const Result<Bytes>&) {});
}

// The earliest record is the earliest that there is when it is read. Each time the call begins a
// little later beside a deletion.
TEST(Subscribe, AtTheEarliest_IsNotRefused_ForThatTheStartMovesBeforeItsFirstRead) {
  ServiceRig rig(5);
  rig.CreateTopic("t", 1);
  const std::string moved = "a subscription's start moved before its first read";
  const uint64_t before = CoverageCounter::All()[moved];
  const size_t asked = (rig.LeaderOf("t", 0) + 1) % 3;
  for (int round = 0; round < 60; ++round) {
    const int first = round * 4;
    Publish(rig, asked, 0, first, 4);
    v1::SubscribeRequest request = Request("t");
    request.mutable_position()->set_earliest(true);
    request.set_stop_at_end(round % 2 == 0);
    BeginDeletion(rig, first + 2);
    rig.world.RunFor(std::chrono::microseconds(50 * round));
    Subscription call(rig, asked, request);
    const auto has_last = [&] {
      return !call.received[0].empty() && call.received[0].back().first == first + 3;
    };
    ASSERT_TRUE(rig.world.RunUntil(has_last, seconds(5))) << "round=" << round;
    EXPECT_FALSE(call.status.has_value() && !call.HasEndedWell()) << *call.status;
    const auto begin = static_cast<int>(call.received[0].front().first);
    EXPECT_TRUE(begin == first + 2 || begin == std::max(first - 2, 0)) << begin;
    EXPECT_EQ(call.received[0], Expected(0, begin, first + 4));
    rig.world.RunFor(milliseconds(100));
  }
  EXPECT_GT(CoverageCounter::All()[moved], before);
}

TEST(Subscribe, WhatIsWrong_EndsTheCall_AndIsNamed) {
  ServiceRig rig(4, 1);
  rig.CreateTopic("t", 2);
  Publish(rig, 0, 0, 0, 3);
  const auto status_of = [&rig](const v1::SubscribeRequest& request) {
    Subscription call(rig, 0, request);
    CHECK(rig.world.RunUntil([&] { return call.status.has_value(); }, seconds(5)));
    return *call.status;
  };
  EXPECT_EQ(status_of(Request("absent")).reason(), Reason::kUnknownTopic);

  v1::SubscribeRequest request = Request("t");
  request.add_partitions(2);
  EXPECT_EQ(status_of(request).reason(), Reason::kUnknownPartition);
  request.set_partitions(0, 1);
  request.add_partitions(1);
  EXPECT_THAT(std::string(status_of(request).message()), HasSubstr("names one twice"));

  request.clear_partitions();
  request.mutable_position()->set_offset(0);
  EXPECT_THAT(std::string(status_of(request).message()), HasSubstr("exactly one partition"));

  request.add_partitions(0);
  for (const int64_t offset : {int64_t{-1}, int64_t{4}, INT64_MAX}) {
    for (const bool stops : {false, true}) {
      request.mutable_position()->set_offset(offset);
      request.set_stop_at_end(stops);
      const Status status = status_of(request);
      EXPECT_EQ(status.reason(), Reason::kOffsetOutOfRange) << status;
      EXPECT_EQ(status.metadata().size(), 2u) << status;
    }
  }
}

TEST(Subscribe, ACompressedBatch_ComesAsSingleRecords_AndIsFoundByTimeInside) {
  ServiceRig rig(7);
  rig.CreateTopic("t", 1);
  const TopicId topic = rig.TopicIdOf("t");
  int64_t offset = 0;
  for (const BatchCompression compression : kBatchCompressions) {
    RecordBatchBuilder builder({});
    for (int i = 0; i < 50; ++i) {
      const std::string value = "0." + std::to_string(offset + i);
      builder.TryAppend({.value = value, .timestamp_ms = 1000 + offset + i});
    }
    Bytes batch = std::move(builder).Finish(
        {.destination = {topic, PartitionId(0)}, .compression = compression});
    const v1::ProduceResult result = rig.Produce(1, "t", std::move(batch));
    ASSERT_FALSE(result.has_error()) << result.error().message();
    EXPECT_EQ(result.base_offset(), offset);
    offset += 50;
  }
  v1::SubscribeRequest request = Request("t");
  request.set_stop_at_end(true);
  for (const int64_t from : {int64_t{0}, int64_t{17}, int64_t{130}, int64_t{249}}) {
    request.mutable_position()->set_timestamp_ms(1000 + from);
    Subscription call(rig, 2, request);
    ASSERT_TRUE(rig.world.RunUntil([&] { return call.status.has_value(); }, seconds(10)));
    EXPECT_TRUE(call.HasEndedWell()) << *call.status;
    EXPECT_EQ(call.received[0], Expected(0, static_cast<int>(from), static_cast<int>(offset)));
  }
}

void Grow(ServiceRig& rig, size_t broker, uint32_t partitions) {
  v1::AlterTopicRequest request;
  request.set_name("t");
  request.set_partition_count(partitions);
  const auto grown =
      rig.Call<v1::AlterTopicResponse>(broker, "/millrace.v1.AdminService/AlterTopic", request);
  ASSERT_TRUE(grown.ok()) << grown.status();
}

// Twice, so that one follows another; at a broker that is not asked to grow it, too.
TEST(Subscribe, ToAllPartitions_ReadsThoseThatCome_FromTheirStart_WhereverItBegan) {
  ServiceRig rig(8);
  rig.CreateTopic("t", 1);
  Publish(rig, 0, 0, 0, 3);
  v1::SubscribeRequest earliest = Request("t");
  earliest.mutable_position()->set_earliest(true);
  v1::SubscribeRequest later = Request("t");
  later.mutable_position()->set_timestamp_ms(INT64_MAX);
  Subscription latest(rig, 1, Request("t"));
  Subscription all(rig, 2, earliest);
  Subscription after(rig, 0, later);
  rig.world.RunFor(seconds(1));
  Grow(rig, 0, 3);
  Publish(rig, 0, 2, 0, 4);
  Grow(rig, 0, 4);
  Publish(rig, 0, 3, 0, 2);
  Publish(rig, 0, 1, 0, 1);
  // No later than a heartbeat: it is no timer that tells of them.
  ASSERT_TRUE(rig.world.RunUntil(
      [&] { return CountOf(latest.received) == 7 && CountOf(all.received) == 10; }, seconds(1)));
  for (const Subscription* call : {&latest, &all, &after}) {
    EXPECT_EQ(call->received.at(1), Expected(1, 0, 1));
    EXPECT_EQ(call->received.at(2), Expected(2, 0, 4));
    EXPECT_EQ(call->received.at(3), Expected(3, 0, 2));
    EXPECT_FALSE(call->status.has_value());
  }
  EXPECT_EQ(latest.received.count(0), 0U);
  EXPECT_EQ(all.received.at(0), Expected(0, 0, 3));
}

TEST(Subscribe, ToNamedPartitions_ReadsNoOthers) {
  ServiceRig rig(9);
  rig.CreateTopic("t", 1);
  v1::SubscribeRequest named = Request("t");
  named.add_partitions(0);
  Subscription one(rig, 1, named);
  rig.world.RunFor(seconds(1));
  Grow(rig, 0, 2);
  Publish(rig, 0, 1, 0, 4);
  Publish(rig, 0, 0, 0, 1);
  ASSERT_TRUE(rig.world.RunUntil([&] { return CountOf(one.received) > 0; }, seconds(2)));
  rig.world.RunFor(seconds(1));
  EXPECT_EQ(one.received.size(), 1U);
}

TEST(Subscribe, ATopicThatIsDeleted_EndsTheCall) {
  ServiceRig rig(5);
  rig.CreateTopic("t", 2);
  std::vector<std::unique_ptr<Subscription>> calls;
  for (size_t broker = 0; broker < 3; ++broker) {
    calls.push_back(std::make_unique<Subscription>(rig, broker, Request("t")));
  }
  rig.world.RunFor(seconds(1));
  v1::DeleteTopicRequest request;
  request.set_name("t");
  const auto deleted =
      rig.Call<v1::DeleteTopicResponse>(0, "/millrace.v1.AdminService/DeleteTopic", request);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  for (const auto& call : calls) {
    ASSERT_TRUE(rig.world.RunUntil([&] { return call->status.has_value(); }, seconds(20)));
    EXPECT_EQ(call->status->code(), Code::kNotFound) << *call->status;
  }
}

// A transport that takes nothing until it is told to.
class StuckStream final : public Stream {
 public:
  const Principal& principal() const override { return principal_; }
  void Write(std::vector<Bytes> pieces) override {
    ASSERT_EQ(pieces.size(), 1u);
    pending_ += pieces.front().size();
    most = std::max(most, pending_);
    largest_message = std::max<uint64_t>(largest_message, pieces.front().size());
    Take(pieces.front(), &received);
  }
  uint64_t pending_bytes() const override { return pending_; }
  void SetReading(bool) override {}
  void Finish(const Status& why) override { status = why; }
  void TakeAll() { pending_ = 0; }

  Received received;
  std::optional<Status> status;
  uint64_t most = 0;
  uint64_t largest_message = 0;

 private:
  const Principal principal_;
  uint64_t pending_ = 0;
};

TEST(Subscribe, AClientThatDoesNotRead_CostsBoundedMemory_AndGetsEverythingWhenItDoes) {
  ServiceRig rig(6, 1);
  rig.CreateTopic("t", 8);
  v1::PublishRequest publish;
  publish.set_topic("t");
  for (int i = 0; i < 9; ++i) publish.add_records()->set_value(std::string(100'000, 'x'));
  for (uint32_t i = 0; i < 32; ++i) {
    publish.set_partition(i % 8);
    const auto response = rig.Call<v1::PublishResponse>(0, kPublish, publish);
    ASSERT_TRUE(response.ok() && !response->results(0).has_error());
  }
  v1::SubscribeRequest request = Request("t");
  request.mutable_position()->set_earliest(true);
  request.set_stop_at_end(true);

  const auto stream = std::make_shared<StuckStream>();
  StreamFactory* factory = rig.cluster.node(0).registry().FindStream(kSubscribe);
  ASSERT_NE(factory, nullptr);
  const std::unique_ptr<StreamHandler> handler = (*factory)(stream);
  handler->OnMessage(Bytes::Own(request.SerializeAsString()));
  handler->OnHalfClose();
  for (int round = 0; round < 100 && !stream->status.has_value(); ++round) {
    rig.world.RunFor(seconds(1));
    stream->TakeAll();
    handler->OnWritable();
  }
  ASSERT_TRUE(stream->status.has_value());
  EXPECT_TRUE(stream->status->ok()) << *stream->status;
  EXPECT_EQ(CountOf(stream->received), 32u * 9);
  EXPECT_LE(stream->most, uint64_t{4} << 20);
  EXPECT_LE(stream->largest_message, uint64_t{300} << 10);
  handler->OnClosed();
}

}  // namespace
}  // namespace millrace::broker

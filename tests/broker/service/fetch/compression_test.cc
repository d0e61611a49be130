// Compressed batches from producers to readers: checked before they are stored, stored as they
// came, and given to each reader in a form that it takes.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/partition/partition.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/checksum.h"
#include "proto/record/record_batch.h"
#include "proto/record/record_batch_builder.h"
#include "tests/broker/service/service_rig.h"

namespace millrace::broker {
namespace {

using ::testing::HasSubstr;

constexpr int kRecordsPerBatch = 20;
constexpr int64_t kFirstTimestampMs = 1000;

// A client's end of one stream, which keeps what comes.
template <typename Response>
class TestStream final : public client::RpcStreamHandler {
 public:
  TestStream(ServiceRig& rig, size_t broker, const std::string& method)
      : stream_(rig.connector.OpenStream(rig.cluster.addresses()[broker], method, this)) {}
  template <typename Request>
  void Send(const Request& request) {
    stream_->Write({Bytes::Own(request.SerializeAsString())});
  }
  void OnMessage(Bytes message) override {
    CHECK(received.emplace_back().ParseFromArray(message.data(), static_cast<int>(message.size())));
  }
  void OnClosed(const Status& why) override { LOG(FATAL) << why; }

  std::vector<Response> received;

 private:
  std::unique_ptr<client::RpcStream> stream_;
};

class CompressionTest : public ::testing::Test {
 protected:
  CompressionTest() : rig(1) {
    rig.CreateTopic("t", 1);
    leader = rig.LeaderOf("t", 0);
    v1::DescribeTopicsRequest request;
    request.add_names("t");
    const auto topics = rig.Call<v1::DescribeTopicsResponse>(
        0, "/millrace.v1.MetadataService/DescribeTopics", request);
    CHECK(topics.ok()) << topics.status();
    topic = TopicId(topics->topics(0).topic_id());
    producer = rig.InitProducer(0);
  }

  // A batch whose values say which record they are.
  std::string Batch(BatchCompression compression, uint32_t number) {
    RecordBatchBuilder builder({});
    for (int i = 0; i < kRecordsPerBatch; ++i) {
      const uint32_t record = number * kRecordsPerBatch + static_cast<uint32_t>(i);
      CHECK(builder.TryAppend({.value = "value of record " + std::to_string(record),
                               .timestamp_ms = kFirstTimestampMs + record}));
    }
    const Bytes bytes = std::move(builder).Finish({.producer_id = producer,
                                                   .first_sequence = number * kRecordsPerBatch,
                                                   .destination = {topic, PartitionId(0)},
                                                   .compression = compression});
    return std::string(bytes.view());
  }

  // One record, that takes so many bytes before compression.
  std::string BatchThatInflatesTo(size_t size) {
    constexpr size_t kTagsAndLengths = 2 * (1 + 4);
    RecordBatchBuilder builder({});
    CHECK(builder.TryAppend({.value = std::string(size - kTagsAndLengths, 'x')}));
    CHECK_EQ(builder.records_bytes(), size);
    const Bytes bytes = std::move(builder).Finish(
        {.destination = {topic, PartitionId(0)}, .compression = BatchCompression::kZstd});
    return std::string(bytes.view());
  }

  v1::ProduceRequest RequestOf(const std::string& batch, uint64_t number) {
    v1::ProduceRequest request;
    v1::ProduceBatch& one = *request.add_batches();
    one.set_topic("t");
    one.set_batch_id(number);
    CHECK(one.mutable_batch()->ParseFromString(batch));
    return request;
  }

  // What the broker answers to the batches, sent at once, in the order of its answers.
  std::vector<v1::ProduceResult> Produce(size_t broker, const std::vector<std::string>& batches) {
    TestStream<v1::ProduceResponse> stream(rig, broker, "/millrace.v1.ProducerService/Produce");
    v1::ProduceRequest init;
    init.mutable_init()->set_client_id("test");
    stream.Send(init);
    for (size_t i = 0; i < batches.size(); ++i) stream.Send(RequestOf(batches[i], i));
    std::vector<v1::ProduceResult> results;
    const bool is_answered = rig.world.RunUntil(
        [&] {
          results.clear();
          for (const auto& response : stream.received) {
            results.insert(results.end(), response.results().begin(), response.results().end());
          }
          return results.size() == batches.size();
        },
        kRigTimeMax);
    CHECK(is_answered) << results.size();
    return results;
  }

  // All batches of the partition, as a client gets them that takes these compressions.
  std::vector<v1::FetchedBatch> Fetch(size_t broker,
                                      const std::vector<BatchCompression>& accepted) {
    TestStream<v1::FetchResponse> stream(rig, broker, "/millrace.v1.ConsumerService/Fetch");
    v1::FetchRequest request;
    for (const BatchCompression compression : accepted) {
      request.mutable_init()->add_accepted_compressions(static_cast<v1::Compression>(compression));
    }
    request.mutable_init()->set_client_id("test");
    v1::FetchPartition& add = *request.add_add();
    add.set_topic("t");
    add.mutable_position()->set_earliest(true);
    request.set_credit_bytes(1 << 20);
    stream.Send(request);
    std::vector<v1::FetchedBatch> batches;
    const bool is_read = rig.world.RunUntil(
        [&] {
          batches.clear();
          for (const auto& response : stream.received) {
            for (const auto& partition : response.partitions()) {
              CHECK(!partition.has_error()) << partition.error().ShortDebugString();
              batches.insert(batches.end(), partition.batches().begin(), partition.batches().end());
            }
          }
          return batches.size() == stored.size();
        },
        kRigTimeMax);
    CHECK(is_read) << batches.size() << " of " << stored.size();
    return batches;
  }

  // One batch of each compression, and one of none.
  void StoreOneOfEach(size_t broker) {
    for (const BatchCompression compression : kBatchCompressions) {
      stored.push_back(Batch(compression, static_cast<uint32_t>(stored.size())));
    }
    for (const v1::ProduceResult& result : Produce(broker, stored)) {
      ASSERT_FALSE(result.has_error()) << result.error().ShortDebugString();
    }
  }

  ServiceRig rig;
  size_t leader = 0;
  TopicId topic;
  ProducerId producer;
  std::vector<std::string> stored;
};

void ExpectTyped(const v1::FetchedBatch& fetched, int number) {
  const v1::RecordBatch& batch = fetched.batch();
  EXPECT_EQ(fetched.base_offset(), number * kRecordsPerBatch);
  EXPECT_EQ(fetched.batch_checksum(), Crc32c(batch.SerializeAsString()));
  EXPECT_FALSE(batch.has_packed() || batch.has_checksum());
  ASSERT_EQ(batch.records_size(), kRecordsPerBatch);
  for (int i = 0; i < kRecordsPerBatch; ++i) {
    EXPECT_EQ(batch.records(i).value(),
              "value of record " + std::to_string(number * kRecordsPerBatch + i));
  }
}

TEST_F(CompressionTest, AReaderThatNamesNothing_GetsTypedRecords_OfEveryCompression) {
  StoreOneOfEach(leader);
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    const std::vector<v1::FetchedBatch> fetched = Fetch(broker, {});
    for (size_t i = 0; i < fetched.size(); ++i) ExpectTyped(fetched[i], static_cast<int>(i));
  }
}

TEST_F(CompressionTest, AReaderThatTakesAll_GetsTheProducersBytes) {
  StoreOneOfEach((leader + 1) % rig.cluster.size());
  const std::vector<BatchCompression> all(std::begin(kBatchCompressions),
                                          std::end(kBatchCompressions));
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    const std::vector<v1::FetchedBatch> fetched = Fetch(broker, all);
    for (size_t i = 0; i < fetched.size(); ++i) {
      EXPECT_EQ(fetched[i].batch().SerializeAsString(), stored[i]);
      EXPECT_EQ(fetched[i].batch_checksum(), Crc32c(stored[i]));
    }
  }
}

TEST_F(CompressionTest, AReaderThatTakesSome_GetsTheOthersTyped) {
  StoreOneOfEach(leader);
  const std::vector<v1::FetchedBatch> fetched =
      Fetch(leader, {BatchCompression::kNone, BatchCompression::kLz4});
  for (size_t i = 0; i < fetched.size(); ++i) {
    const BatchCompression compression = kBatchCompressions[i];
    if (compression == BatchCompression::kNone || compression == BatchCompression::kLz4) {
      EXPECT_EQ(fetched[i].batch().SerializeAsString(), stored[i]);
    } else {
      ExpectTyped(fetched[i], static_cast<int>(i));
    }
  }
}

// Uncompressed batches are checked in place, compressed ones take the longer way.
TEST_F(CompressionTest, BatchesOfOneStream_KeepTheirOrder_WhicheverWayTheyAreChecked) {
  for (uint32_t i = 0; i < 40; ++i) {
    const bool is_compressed = i % 3 == 0;
    stored.push_back(Batch(is_compressed ? BatchCompression::kZstd : BatchCompression::kNone, i));
  }
  for (const size_t broker : {leader, (leader + 1) % rig.cluster.size()}) {
    const std::vector<v1::ProduceResult> results = Produce(broker, stored);
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_EQ(results[i].batch_id(), i);
      EXPECT_FALSE(results[i].has_error()) << results[i].error().ShortDebugString();
    }
  }
  const std::vector<v1::FetchedBatch> fetched = Fetch(leader, {});
  for (size_t i = 0; i < fetched.size(); ++i) ExpectTyped(fetched[i], static_cast<int>(i));
}

TEST_F(CompressionTest, ABatchThatLies_IsRefused_AndTheNextGoodOneIsStored) {
  v1::RecordBatch lie;
  ASSERT_TRUE(lie.ParseFromString(Batch(BatchCompression::kZstd, 0)));
  lie.set_record_count(3);
  v1::RecordBatch bomb = lie;
  const Result<Bytes> packed = Compress(BatchCompression::kZstd, std::string(4 << 20, '\0'));
  ASSERT_TRUE(packed.ok());
  bomb.set_packed(packed->data(), packed->size());
  bomb.set_checksum(PackedChecksum(bomb.packed(), {topic, PartitionId(0)}));
  bomb.set_uncompressed_size(100);
  v1::RecordBatch large = bomb;
  large.set_uncompressed_size(4 << 20);
  stored.push_back(Batch(BatchCompression::kGzip, 0));
  const std::vector<v1::ProduceResult> results = Produce(
      leader,
      {lie.SerializeAsString(), bomb.SerializeAsString(), large.SerializeAsString(), stored[0]});
  EXPECT_THAT(results[0].error().message(), HasSubstr("record_count is 3"));
  EXPECT_THAT(results[1].error().message(), HasSubstr("larger than uncompressed_size"));
  EXPECT_THAT(results[2].error().message(), HasSubstr("before compression is larger than"));
  EXPECT_FALSE(results[3].has_error()) << results[3].error().ShortDebugString();
  ExpectTyped(Fetch(leader, {})[0], 0);
}

// Past the topic's limit before compression, and below it as it is sent.
TEST_F(CompressionTest, WhatInflatesTo4MiB_IsRead_With1MiBOfCreditAnAnswer_FromAnyBroker) {
  RecordBatchBuilder builder({.records_bytes_max = 5 << 20});
  for (int i = 0; i < 1000; ++i) CHECK(builder.TryAppend({.value = std::string(4100, 'x')}));
  const Bytes batch = std::move(builder).Finish({.producer_id = producer,
                                                 .destination = {topic, PartitionId(0)},
                                                 .compression = BatchCompression::kZstd});
  const v1::ProduceResult result = Produce(leader, {std::string(batch.view())})[0];
  ASSERT_FALSE(result.has_error()) << result.error().ShortDebugString();
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    TestStream<v1::FetchResponse> stream(rig, broker, "/millrace.v1.ConsumerService/Fetch");
    v1::FetchRequest request;
    request.mutable_init();
    request.mutable_add()->Add()->set_topic("t");
    request.mutable_add(0)->mutable_position()->set_earliest(true);
    request.set_credit_bytes(1 << 20);
    stream.Send(request);
    request.Clear();
    request.set_credit_bytes(1 << 20);
    int64_t next = 0;
    size_t seen = 0;
    const bool is_read = rig.world.RunUntil(
        [&] {
          for (; seen < stream.received.size(); ++seen) {
            EXPECT_LT(stream.received[seen].ByteSizeLong(), size_t{1} << 20);
            for (const auto& partition : stream.received[seen].partitions()) {
              next = partition.next_offset();
            }
            stream.Send(request);
          }
          return next == 1000;
        },
        kRigTimeMax);
    EXPECT_TRUE(is_read) << "broker=" << broker << " next=" << next;
  }
}

TEST_F(CompressionTest,
       ARecordAsLargeAsABatchMayInflate_IsReadInAMessageOf4MiB_AndAByteMoreRefused) {
  constexpr size_t kMessageBytesMax = 4 << 20;  // that a gRPC client receives by default
  stored.push_back(BatchThatInflatesTo(Partition::kInflatedBytesMax));
  const std::vector<v1::ProduceResult> results =
      Produce(leader, {stored[0], BatchThatInflatesTo(Partition::kInflatedBytesMax + 1)});
  EXPECT_FALSE(results[0].has_error()) << results[0].error().ShortDebugString();
  EXPECT_EQ(results[1].error().info().reason(), "BATCH_TOO_LARGE");
  EXPECT_EQ(results[1].error().info().metadata().at("uncompressed_bytes_max"),
            std::to_string(Partition::kInflatedBytesMax));
  for (size_t broker = 0; broker < rig.cluster.size(); ++broker) {
    v1::FetchResponse whole;
    *whole.add_partitions()->add_batches() = Fetch(broker, {})[0];
    EXPECT_GT(whole.ByteSizeLong(), size_t{Partition::kInflatedBytesMax});
    EXPECT_LT(whole.ByteSizeLong() + 100, kMessageBytesMax) << "with a partition's other fields";
    TestStream<v1::SubscribeResponse> stream(rig, broker, "/millrace.v1.ConsumerService/Subscribe");
    v1::SubscribeRequest request;
    request.set_topic("t");
    request.mutable_position()->set_earliest(true);
    stream.Send(request);
    ASSERT_TRUE(rig.world.RunUntil([&] { return !stream.received.empty(); }, kRigTimeMax));
    EXPECT_LT(stream.received[0].ByteSizeLong(), kMessageBytesMax);
  }
}

TEST_F(CompressionTest, ATimestamp_IsFoundInsideACompressedBatch) {
  StoreOneOfEach(leader);
  v1::ListOffsetsRequest request;
  request.set_topic("t");
  for (const int64_t record : {5, 27, 48, 69, 90}) {
    request.set_timestamp_ms(kFirstTimestampMs + record);
    const auto offsets =
        rig.Call<v1::ListOffsetsResponse>(0, "/millrace.v1.ConsumerService/ListOffsets", request);
    ASSERT_TRUE(offsets.ok()) << offsets.status();
    EXPECT_EQ(offsets->partitions(0).timestamp_offset(), record);
    EXPECT_EQ(offsets->partitions(0).found_timestamp_ms(), kFirstTimestampMs + record);
  }
}

TEST_F(CompressionTest, GetServerInfo_NamesThemAll) {
  const auto info = rig.Call<v1::GetServerInfoResponse>(
      0, "/millrace.v1.MetadataService/GetServerInfo", v1::GetServerInfoRequest());
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->compressions_size(), 5);
  EXPECT_EQ(info->batch_bytes_max(), 1'048'588u);
  EXPECT_EQ(info->message_bytes_max(), 4u << 20);
  EXPECT_EQ(info->streams_per_connection_max(), 1000u);
}

}  // namespace
}  // namespace millrace::broker

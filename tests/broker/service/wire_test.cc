// Envelopes by hand against the same messages by libprotobuf.

#include <cstring>
#include <string>

#include <gtest/gtest.h>

#include "broker/service/fetch_wire.h"
#include "broker/service/produce_wire.h"
#include "broker/service/publish_wire.h"
#include "broker/service/subscribe_wire.h"
#include "millrace/v1/producer_service.pb.h"
#include "proto/base/checksum.h"
#include "proto/frame/frame.h"

namespace millrace::broker {
namespace {

v1::ProduceRequest Request() {
  v1::ProduceRequest request;
  for (uint32_t i = 0; i < 3; ++i) {
    auto& batch = *request.add_batches();
    batch.set_topic("t" + std::to_string(i));
    batch.set_partition(i);
    batch.set_batch_id(1000 + i);
    batch.set_is_repeated(i == 1);
    batch.mutable_batch()->add_records()->set_value("value " + std::to_string(i));
  }
  return request;
}

TEST(ProduceWire, ReadsWhatLibprotobufWrites_WithoutCopyingBatches) {
  const v1::ProduceRequest request = Request();
  const Bytes message = Bytes::Own(request.SerializeAsString());
  const Result<ProduceRequestView> view = ParseProduceRequest(message);
  ASSERT_TRUE(view.ok()) << view.status();
  ASSERT_EQ(view->batches.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    const ProduceBatchView& batch = view->batches[static_cast<size_t>(i)];
    EXPECT_EQ(batch.topic, request.batches(i).topic());
    EXPECT_EQ(batch.partition.value(), request.batches(i).partition());
    EXPECT_EQ(batch.batch_id, request.batches(i).batch_id());
    EXPECT_EQ(batch.is_repeated, request.batches(i).is_repeated());
    EXPECT_EQ(batch.batch.view(), request.batches(i).batch().SerializeAsString());
    EXPECT_GE(batch.batch.data(), message.data());
    EXPECT_LT(batch.batch.data(), message.data() + message.size());
  }
}

TEST(ProduceWire, EveryTruncation_IsAnErrorOrAWholePrefix) {
  const std::string bytes = Request().SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Result<ProduceRequestView> view =
        ParseProduceRequest(Bytes::CopyOf(std::string_view(bytes).substr(0, size)));
    v1::ProduceRequest reference;
    const bool is_valid = reference.ParseFromString(bytes.substr(0, size));
    if (view.ok()) {
      EXPECT_TRUE(is_valid) << size;
    }
  }
}

TEST(ProduceWire, ABatchTwice_IsRefused) {
  v1::ProduceBatch batch = Request().batches(0);
  const std::string twice = batch.SerializeAsString() + batch.SerializeAsString();
  v1::ProduceRequest request;
  std::string message;
  message.push_back(0x12);
  message.push_back(static_cast<char>(twice.size()));
  message += twice;
  EXPECT_EQ(ParseProduceRequest(Bytes::Own(message)).status().code(), Code::kInvalidArgument);
}

TEST(FetchWire, LibprotobufReads_WhatIsWrittenInPieces) {
  v1::RecordBatch stored;
  stored.add_records()->set_value("hello");
  const std::string payload = stored.SerializeAsString();
  Buffer buffer = AllocateFrame(payload.size());
  std::memcpy(FramePayload(buffer), payload.data(), payload.size());
  FrameHeader header{.type = FrameType::kRecordBatch,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .term = Term(9),
                     .index = LogIndex(3),
                     .base_offset = Offset(42),
                     .offset_span = 1,
                     .record_count = 1,
                     .append_time_ms = 1234,
                     .payload_crc = Crc32c(payload)};
  header.stored_crc = header.payload_crc;
  raft::core::Entry entry{.term = Term(9), .index = LogIndex(3)};
  entry.frame = SealFrame(header, std::move(buffer));
  v1::FetchedPartition head;
  head.set_fetch_id(5);
  head.set_high_watermark(43);
  std::string joined;
  for (const Bytes& piece :
       EncodeFetchResponse(head, EncodeBatches({entry, entry}, Offset(0), 500))) {
    joined.append(piece.view());
  }
  v1::FetchResponse response;
  ASSERT_TRUE(response.ParseFromString(joined));
  ASSERT_EQ(response.partitions_size(), 1);
  EXPECT_EQ(response.partitions(0).fetch_id(), 5u);
  ASSERT_EQ(response.partitions(0).batches_size(), 2);
  const v1::FetchedBatch& batch = response.partitions(0).batches(1);
  EXPECT_EQ(batch.base_offset(), 42);
  EXPECT_EQ(batch.leader_epoch(), 509u);
  EXPECT_EQ(batch.batch_checksum(), Crc32c(payload));
  EXPECT_EQ(batch.batch().records(0).value(), "hello");
}

v1::FetchedPartition FetchedOf(int batches) {
  v1::FetchedPartition part;
  for (int i = 0; i < batches; ++i) {
    v1::FetchedBatch& fetched = *part.add_batches();
    fetched.set_base_offset(10 + 2 * i);
    fetched.set_append_time_ms(1'700'000'000'000 + i);
    fetched.set_leader_epoch(3);
    fetched.set_record_count(2);
    fetched.set_end_offset(12 + 2 * i);
    fetched.set_batch_checksum(0xC0FFEE);
    fetched.mutable_batch()->add_records()->set_key("k" + std::to_string(i));
    fetched.mutable_batch()->add_records()->set_value("");
  }
  return part;
}

TEST(SubscribeWire, EachRecord_ComesWithItsPlaceAndTime) {
  const std::string bytes = FetchedOf(3).SerializeAsString();
  const Result<std::vector<FetchedBatchView>> batches = ParseBatches(bytes);
  ASSERT_TRUE(batches.ok()) << batches.status();
  v1::SubscribeResponse sent;
  RecordMessages messages(PartitionId(5), [&sent](const Bytes& message) {
    v1::SubscribeResponse one;
    EXPECT_TRUE(one.ParseFromArray(message.data(), static_cast<int>(message.size())));
    sent.MergeFrom(one);
    return true;
  });
  for (const FetchedBatchView& batch : *batches) {
    const Result<Offset> added = messages.Add(batch, Offset(11), Offset(15));
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_EQ(*added, batch.base_offset + 2);
  }
  EXPECT_EQ(sent.records_size(), 0) << "small messages are sent on Flush";
  messages.Flush();
  ASSERT_EQ(sent.records_size(), 4);
  EXPECT_FALSE(sent.records(0).record().has_key());
  EXPECT_EQ(sent.records(1).record().key(), "k1");
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(sent.records(i).partition(), 5u);
    EXPECT_EQ(sent.records(i).offset(), 11 + i);
    EXPECT_EQ(sent.records(i).append_time_ms(), 1'700'000'000'000 + (i + 1) / 2);
  }
}

TEST(SubscribeWire, WithoutRoom_TheRestOfABatchIsLeft_AndTakenUpWhereItStopped) {
  v1::FetchedPartition part;
  v1::FetchedBatch& fetched = *part.add_batches();
  fetched.set_base_offset(10);
  fetched.set_end_offset(20);
  for (int i = 0; i < 10; ++i) {
    fetched.mutable_batch()->add_records()->set_value(std::string(100'000, 'v'));
  }
  const std::string bytes = part.SerializeAsString();
  const Result<std::vector<FetchedBatchView>> batches = ParseBatches(bytes);
  ASSERT_TRUE(batches.ok()) << batches.status();
  Offset next(11);
  std::vector<int64_t> ends;
  while (next < Offset(20)) {
    RecordMessages messages(PartitionId(5), [](const Bytes&) { return false; });
    const Result<Offset> added = messages.Add(batches->front(), next, Offset(100));
    ASSERT_TRUE(added.ok()) << added.status();
    next = *added;
    ends.push_back(next.value());
  }
  EXPECT_EQ(ends, (std::vector<int64_t>{13, 15, 17, 19, 20}));
}

TEST(SubscribeWire, EveryTruncation_IsAnErrorOrAWholePrefix) {
  const std::string bytes = FetchedOf(3).SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    v1::FetchedPartition reference;
    if (ParseBatches(std::string_view(bytes).substr(0, size)).ok()) {
      EXPECT_TRUE(reference.ParseFromString(bytes.substr(0, size))) << size;
    }
  }
}

v1::PublishRequest PublishRequestOf(int records) {
  v1::PublishRequest request;
  request.set_topic("t");
  request.set_partition(3);
  for (int i = 0; i < records; ++i) {
    v1::Record& record = *request.add_records();
    if (i % 2 == 0) record.set_key("key " + std::to_string(i));
    record.set_value(std::string(static_cast<size_t>(i * 7), 'v'));
  }
  return request;
}

TEST(PublishWire, ReadsWhatLibprotobufWrites) {
  const v1::PublishRequest request = PublishRequestOf(40);
  const Bytes message = Bytes::Own(request.SerializeAsString());
  const Result<PublishRequestView> view = ParsePublishRequest(message);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->topic, "t");
  EXPECT_EQ(view->partition, PartitionId(3));
  ASSERT_EQ(view->records.size(), 40u);
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(view->records[static_cast<size_t>(i)], request.records(i).SerializeAsString());
  }
}

TEST(PublishWire, EveryTruncation_IsAnErrorOrAWholePrefix) {
  const std::string bytes = PublishRequestOf(5).SerializeAsString();
  for (size_t size = 0; size < bytes.size(); ++size) {
    const Bytes message = Bytes::CopyOf(std::string_view(bytes).substr(0, size));
    v1::PublishRequest reference;
    if (ParsePublishRequest(message).ok()) {
      EXPECT_TRUE(reference.ParseFromString(bytes.substr(0, size))) << size;
    }
  }
}

TEST(PublishWire, ABatchOfRecords_IsWhatLibprotobufWouldWrite) {
  const v1::PublishRequest request = PublishRequestOf(40);
  std::vector<std::string> records;
  v1::RecordBatch batch;
  for (const v1::Record& record : request.records()) {
    records.push_back(record.SerializeAsString());
    *batch.add_records() = record;
  }
  EXPECT_EQ(EncodeTypedBatch({records.begin(), records.end()}).view(), batch.SerializeAsString());
}

}  // namespace
}  // namespace millrace::broker

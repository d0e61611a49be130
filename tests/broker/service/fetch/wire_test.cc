// What readers are sent, written by hand, against the same messages by libprotobuf.

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "broker/service/fetch/fetch_wire.h"
#include "broker/service/fetch/subscribe_wire.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/checksum.h"

namespace millrace::broker {
namespace {

FetchedBatch BatchAt(int64_t offset, const v1::RecordBatch& batch) {
  const std::string payload = batch.SerializeAsString();
  const auto count = static_cast<uint32_t>(batch.records_size());
  return {.header = {.type = FrameType::kRecordBatch,
                     .payload_size = static_cast<uint32_t>(payload.size()),
                     .term = Term(9),
                     .base_offset = Offset(offset),
                     .offset_span = count,
                     .record_count = count,
                     .append_time_ms = 1'700'000'000'000 + offset,
                     .stored_crc = Crc32c(payload)},
          .payload = Bytes::Own(payload)};
}

TEST(FetchWire, LibprotobufReads_WhatIsWrittenInPieces) {
  v1::RecordBatch stored;
  stored.add_records()->set_value("hello");
  v1::FetchedPartition head;
  head.set_fetch_id(5);
  head.set_high_watermark(50);
  std::string joined;
  for (const Bytes& piece : EncodeFetchResponse(
           head, EncodeBatches({BatchAt(42, stored), BatchAt(45, stored)}, Offset(42), 500))) {
    joined.append(piece.view());
  }
  v1::FetchResponse response;
  ASSERT_TRUE(response.ParseFromString(joined));
  ASSERT_EQ(response.partitions_size(), 1);
  EXPECT_EQ(response.partitions(0).fetch_id(), 5u);
  ASSERT_EQ(response.partitions(0).batches_size(), 2);
  EXPECT_EQ(response.partitions(0).batches(0).skipped_before(), 0u);
  const v1::FetchedBatch& batch = response.partitions(0).batches(1);
  EXPECT_EQ(batch.base_offset(), 45);
  EXPECT_EQ(batch.end_offset(), 46);
  EXPECT_EQ(batch.skipped_before(), 2u);
  EXPECT_EQ(batch.append_time_ms(), 1'700'000'000'045);
  EXPECT_EQ(batch.leader_epoch(), 509u);
  EXPECT_EQ(batch.batch_checksum(), Crc32c(stored.SerializeAsString()));
  EXPECT_EQ(batch.batch().records(0).value(), "hello");
}

TEST(SubscribeWire, EachRecord_ComesWithItsPlaceAndTime) {
  std::vector<FetchedBatch> batches;
  for (int i = 0; i < 3; ++i) {
    v1::RecordBatch batch;
    batch.add_records()->set_key("k" + std::to_string(i));
    batch.add_records()->set_value("");
    batches.push_back(BatchAt(10 + 2 * i, batch));
  }
  v1::SubscribeResponse sent;
  RecordMessages messages(PartitionId(5), [&sent](const RecordMessage& message) {
    v1::SubscribeResponse one;
    const std::string_view bytes = message.bytes.view();
    EXPECT_TRUE(one.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
    EXPECT_EQ(message.end.value(), one.records().rbegin()->offset() + 1);
    sent.MergeFrom(one);
    return true;
  });
  for (const FetchedBatch& batch : batches) {
    const Result<Offset> added = messages.Add(batch, Offset(11), Offset(15));
    ASSERT_TRUE(added.ok()) << added.status();
    EXPECT_EQ(*added, batch.header.base_offset + 2);
  }
  EXPECT_EQ(sent.records_size(), 0) << "small messages are sent on Flush";
  messages.Flush();
  ASSERT_EQ(sent.records_size(), 4);
  EXPECT_FALSE(sent.records(0).record().has_key());
  EXPECT_EQ(sent.records(1).record().key(), "k1");
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(sent.records(i).partition(), 5u);
    EXPECT_EQ(sent.records(i).offset(), 11 + i);
    EXPECT_EQ(sent.records(i).append_time_ms(), 1'700'000'000'010 + (i + 1) / 2 * 2);
  }
}

TEST(SubscribeWire, OfACompactedBatch_RecordsComeWithTheOffsetsThatTheyHad) {
  v1::RecordBatch batch;
  for (const int32_t delta : {0, 2, 5}) {
    batch.add_records()->set_value(std::to_string(delta));
    if (delta > 0) batch.mutable_records()->rbegin()->set_offset_delta(delta);
  }
  FetchedBatch compacted = BatchAt(10, batch);
  compacted.header.offset_span = 8;
  v1::SubscribeResponse sent;
  RecordMessages messages(PartitionId(5), [&sent](const RecordMessage& message) {
    const std::string_view bytes = message.bytes.view();
    EXPECT_EQ(message.end, Offset(16)) << "one past its last record";
    return sent.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
  });
  const Result<Offset> added = messages.Add(compacted, Offset(11), Offset(100));
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(*added, Offset(18)) << "past what is gone at its end";
  messages.Flush();
  ASSERT_EQ(sent.records_size(), 2);
  EXPECT_EQ(sent.records(0).offset(), 12);
  EXPECT_EQ(sent.records(1).offset(), 15);
  // Who stands behind its last record is told of none, and moves on all the same.
  EXPECT_EQ(messages.Add(compacted, Offset(16), Offset(100)).value(), Offset(18));
}

TEST(SubscribeWire, WithoutRoom_TheRestOfABatchIsLeft_AndTakenUpWhereItStopped) {
  v1::RecordBatch large;
  for (int i = 0; i < 10; ++i) large.add_records()->set_value(std::string(100'000, 'v'));
  const FetchedBatch batch = BatchAt(10, large);
  Offset next(11);
  std::vector<int64_t> ends;
  while (next < Offset(20)) {
    RecordMessages messages(PartitionId(5), [](const RecordMessage&) { return false; });
    const Result<Offset> added = messages.Add(batch, next, Offset(100));
    ASSERT_TRUE(added.ok()) << added.status();
    next = *added;
    ends.push_back(next.value());
  }
  EXPECT_EQ(ends, (std::vector<int64_t>{13, 15, 17, 19, 20}));
}

TEST(SubscribeWire, ABatchThatCannotBeRead_IsDataLoss_NamingItsOffset) {
  FetchedBatch batch = BatchAt(7, v1::RecordBatch());
  batch.payload = Bytes::CopyOf("\xff\xff\xff");
  RecordMessages messages(PartitionId(5), [](const RecordMessage&) { return true; });
  const Status status = messages.Add(batch, Offset(0), Offset(100)).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("offset 7"), std::string::npos) << status;
}

}  // namespace
}  // namespace millrace::broker

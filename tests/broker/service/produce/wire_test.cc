// What producers send, read by hand, against the same messages by libprotobuf.

#include <string>

#include <gtest/gtest.h>

#include "broker/service/produce/produce_wire.h"
#include "broker/service/produce/publish_wire.h"
#include "millrace/v1/producer_service.pb.h"

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
    if (i > 0) batch.set_expected_end_offset(i == 1 ? 0 : -7);
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
    EXPECT_EQ(batch.expected_end.has_value(), request.batches(i).has_expected_end_offset());
    EXPECT_EQ(batch.expected_end.value_or(Offset(0)).value(),
              request.batches(i).expected_end_offset());
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

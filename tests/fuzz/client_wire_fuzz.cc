// What clients send and brokers answer, read by hand on both sides: held against libprotobuf.
#include <string>

#include <google/protobuf/stubs/logging.h>

#include "broker/routing/partition_messages.h"
#include "broker/service/fetch/subscribe_wire.h"
#include "broker/service/produce/produce_wire.h"
#include "broker/service/produce/publish_wire.h"
#include "client/core/fetch_wire.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/producer_service.pb.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;  // NOLINT: one file, one target

namespace {

void CheckProduceRequest(const std::string& bytes) {
  const auto view = broker::ParseProduceRequest(Bytes::CopyOf(bytes));
  if (!view.ok()) return;
  v1::ProduceRequest request;
  if (!request.ParseFromString(bytes)) return;  // a batch's inside is checked later
  CHECK_EQ(view->batches.size(), static_cast<size_t>(request.batches_size()));
  for (int i = 0; i < request.batches_size(); ++i) {
    const broker::ProduceBatchView& batch = view->batches[static_cast<size_t>(i)];
    CHECK_EQ(batch.topic, request.batches(i).topic());
    CHECK_EQ(batch.topic_id.value(), request.batches(i).topic_id());
    CHECK_EQ(batch.partition.value(), request.batches(i).partition());
    CHECK_EQ(batch.batch_id, request.batches(i).batch_id());
    CHECK_EQ(batch.is_repeated, request.batches(i).is_repeated());
    CHECK_EQ(batch.expected_end.has_value(), request.batches(i).has_expected_end_offset());
    CHECK_EQ(batch.expected_end.value_or(Offset(0)).value(),
             request.batches(i).expected_end_offset());
  }
}

void CheckFetchResponse(const std::string& bytes) {
  const auto partitions = client::ParseFetchResponse(Bytes::CopyOf(bytes));
  if (!partitions.ok()) return;
  v1::FetchResponse response;
  if (!response.ParseFromString(bytes)) return;
  CHECK_EQ(partitions->size(), static_cast<size_t>(response.partitions_size()));
  for (int i = 0; i < response.partitions_size(); ++i) {
    const client::FetchedPartitionView& view = (*partitions)[static_cast<size_t>(i)];
    CHECK_EQ(view.fetch_id, response.partitions(i).fetch_id());
    CHECK_EQ(view.batches.size(), static_cast<size_t>(response.partitions(i).batches_size()));
    for (int b = 0; b < response.partitions(i).batches_size(); ++b) {
      const v1::FetchedBatch& batch = response.partitions(i).batches(b);
      CHECK_EQ(view.batches[static_cast<size_t>(b)].base_offset.value(), batch.base_offset());
      CHECK_EQ(view.batches[static_cast<size_t>(b)].record_count, batch.record_count());
    }
  }
}

void CheckPublishRequest(const std::string& bytes) {
  const Bytes message = Bytes::CopyOf(bytes);
  const auto view = broker::ParsePublishRequest(message);
  if (!view.ok()) return;
  const Bytes batch = broker::EncodeTypedBatch(view->records);
  v1::PublishRequest request;
  v1::RecordBatch records;
  if (!request.ParseFromString(bytes)) return;  // what is in a record is checked in the batch
  CHECK_EQ(view->topic, request.topic());
  CHECK_EQ(view->topic_id.value(), request.topic_id());
  CHECK_EQ(view->records.size(), static_cast<size_t>(request.records_size()));
  CHECK(records.ParseFromArray(batch.data(), static_cast<int>(batch.size())));
  for (int i = 0; i < request.records_size(); ++i) {
    CHECK_EQ(records.records(i).SerializeAsString(), request.records(i).SerializeAsString());
  }
}

// A batch that a broker sends on, record by record.
void CheckSubscribed(const std::string& bytes) {
  const broker::FetchedBatch batch{.header = {.offset_span = 10}, .payload = Bytes::CopyOf(bytes)};
  uint64_t sent = 0;
  broker::RecordMessages messages(PartitionId(1), [&sent](const broker::RecordMessage& message) {
    v1::SubscribeResponse response;
    if (response.ParseFromArray(message.bytes.data(), static_cast<int>(message.bytes.size()))) {
      sent += static_cast<uint64_t>(response.records_size());
    }
    return true;
  });
  const Result<Offset> added = messages.Add(batch, Offset(0), Offset(10));
  messages.Flush();
  if (added.ok()) CHECK_LE(sent, 10u);
}

// What another broker says of a partition.
void CheckForwarded(const std::string& bytes) {
  const Bytes body = Bytes::CopyOf(bytes);
  if (const auto produce = broker::DecodeProduce(body); produce.ok()) {
    CHECK_LE(produce->batch.bytes.size(), bytes.size());
  }
  static_cast<void>(broker::DecodeOffsetsReply(body, true));
  const auto read = broker::DecodeReadReply(body);
  if (!read.ok()) return;
  for (const raft::core::Entry& entry : read->entries) {
    CHECK(entry.frame.CheckPayload().ok());
    CHECK(entry.frame.header().type == FrameType::kRecordBatch);
  }
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  static const google::protobuf::LogSilencer quiet;  // it logs every text that is not UTF-8
  const auto kind = input.ConsumeIntegralInRange<int>(0, 4);
  const std::string bytes = input.ConsumeRemainingBytesAsString();
  switch (kind) {
    case 0:
      return CheckFetchResponse(bytes);
    case 1:
      return CheckProduceRequest(bytes);
    case 2:
      return CheckPublishRequest(bytes);
    case 3:
      return CheckSubscribed(bytes);
    default:
      return CheckForwarded(bytes);
  }
}

// What clients send and brokers answer, read by hand on both sides: held against libprotobuf.
#include <string>

#include "broker/service/produce_wire.h"
#include "client/cpp/fetch_wire.h"
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

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  const bool is_request = input.ConsumeBool();
  const std::string bytes = input.ConsumeRemainingBytesAsString();
  if (is_request) {
    CheckProduceRequest(bytes);
  } else {
    CheckFetchResponse(bytes);
  }
}

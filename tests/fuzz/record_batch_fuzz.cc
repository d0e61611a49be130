// Record batches against libprotobuf: what the parser takes, every protobuf library reads as the
// same records.
#include <string>

#include <google/protobuf/stubs/logging.h>

#include "millrace/v1/record.pb.h"
#include "proto/record/record_batch.h"
#include "tests/fuzz/fuzz.h"

using namespace millrace;  // NOLINT: one file, one target

namespace {

// That of the example in docs/formats.md.
constexpr TopicPartition kHome{TopicId(1000), PartitionId(1)};

// `bytes` with the checksum that its packed field needs, so that mutations get past it.
std::string WithChecksum(const std::string& bytes) {
  v1::RecordBatch batch;
  if (!batch.ParseFromString(bytes) || !batch.has_packed()) return bytes;
  batch.set_checksum(PackedChecksum(batch.packed(), kHome));
  return batch.SerializeAsString();
}

v1::Record ToMessage(const RecordView& view) {
  v1::Record record;
  if (view.key) record.set_key(std::string(*view.key));
  if (view.value) record.set_value(std::string(*view.value));
  record.set_timestamp_ms(view.timestamp_ms);
  record.set_offset_delta(view.offset_delta);
  HeaderIterator headers(view);
  HeaderView header;
  while (headers.Next(&header)) {
    v1::Header* out = record.add_headers();
    out->set_key(std::string(header.key));
    if (header.value) out->set_value(std::string(*header.value));
  }
  return record;
}

}  // namespace

FUZZ_TARGET(FuzzedDataProvider& input) {
  static const google::protobuf::LogSilencer quiet;  // it logs every key that is not UTF-8
  const bool is_repaired = input.ConsumeBool();
  std::string bytes = input.ConsumeRemainingBytesAsString();
  if (is_repaired) bytes = WithChecksum(bytes);
  const Result<RecordBatchView> view = ParseRecordBatch(bytes, kHome);
  if (!view.ok()) return;
  v1::RecordBatch batch;
  CHECK(batch.ParseFromString(bytes)) << "libprotobuf refuses what the parser takes";
  CHECK(batch.GetReflection()->GetUnknownFields(batch).empty());
  CHECK_EQ(batch.producer_id(), view->producer_id.value());
  CHECK_EQ(batch.producer_epoch(), view->producer_epoch);
  CHECK_EQ(batch.first_sequence(), view->first_sequence);
  CHECK_EQ(batch.has_packed(), view->is_packed);
  const auto opened = OpenRecordBatch(bytes);
  CHECK(opened.ok()) << opened.status();
  v1::Records records;
  if (view->is_packed) {
    CHECK(records.ParseFromString(std::string(opened->view.records)));
  } else {
    *records.mutable_records() = batch.records();
  }
  CHECK_EQ(static_cast<uint32_t>(records.records_size()), view->record_count);
  RecordIterator iterator(opened->view);
  RecordView record;
  for (const v1::Record& expected : records.records()) {
    CHECK(iterator.Next(&record));
    CHECK_EQ(ToMessage(record).SerializeAsString(), expected.SerializeAsString());
  }
  CHECK(!iterator.Next(&record));
  CHECK(iterator.status().ok());
}

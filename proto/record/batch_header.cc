#include "proto/record/batch_header.h"

namespace millrace {
namespace {

constexpr size_t kChecksumSize = 1 + sizeof(uint32_t);

size_t NumberSize(uint64_t value) { return value == 0 ? 0 : 1 + VarintSize(value); }

}  // namespace

size_t BatchHeaderSize(const RecordBatchView& batch) {
  size_t size = NumberSize(batch.producer_id.value()) + NumberSize(batch.producer_epoch) +
                NumberSize(batch.first_sequence) + NumberSize(batch.record_count) +
                NumberSize(static_cast<uint64_t>(batch.max_timestamp_ms)) +
                NumberSize(static_cast<uint32_t>(batch.compression)) +
                NumberSize(batch.uncompressed_size) + NumberSize(batch.transaction_number);
  if (batch.is_packed) size += kChecksumSize + 1 + VarintSize(batch.records.size());
  return size;
}

void WriteBatchHeader(const RecordBatchView& batch, WireWriter* out) {
  out->Number(1, batch.producer_id.value());
  out->Number(2, batch.producer_epoch);
  out->Number(3, batch.first_sequence);
  out->Number(4, batch.record_count);
  out->Number(5, static_cast<uint64_t>(batch.max_timestamp_ms));
  out->Number(6, static_cast<uint32_t>(batch.compression));
  if (batch.is_packed) {
    out->Byte(WireTag(7, WireType::kFixed32));
    out->Fixed32(batch.checksum);
  }
  out->Number(8, batch.uncompressed_size);
  out->Number(9, batch.transaction_number);
  if (batch.is_packed) {
    out->Byte(WireTag(15, WireType::kLengthDelimited));
    out->Varint(batch.records.size());
  }
}

}  // namespace millrace

#include "proto/record/record_batch_builder.h"

#include <algorithm>
#include <cstring>

#include <glog/logging.h>

#include "proto/record/batch_header.h"
#include "proto/record/offset_delta.h"
#include "proto/record/wire.h"

namespace millrace {
namespace {

size_t HeaderContentSize(const HeaderView& header) {
  size_t size = header.key.empty() ? 0 : DelimitedSize(header.key.size());
  if (header.value) size += DelimitedSize(header.value->size());
  return size;
}

size_t RecordContentSize(const NewRecord& record) {
  size_t size = 0;
  if (record.key) size += DelimitedSize(record.key->size());
  if (record.value) size += DelimitedSize(record.value->size());
  for (const HeaderView& header : record.headers) size += DelimitedSize(HeaderContentSize(header));
  if (record.timestamp_ms != 0) {
    size += 1 + VarintSize(static_cast<uint64_t>(record.timestamp_ms));
  }
  return size;
}

void WriteRecordContent(const NewRecord& record, WireWriter* out) {
  if (record.key) out->Delimited(1, *record.key);
  if (record.value) out->Delimited(2, *record.value);
  for (const HeaderView& header : record.headers) {
    out->Byte(WireTag(3, WireType::kLengthDelimited));
    out->Varint(HeaderContentSize(header));
    if (!header.key.empty()) out->Delimited(1, header.key);
    if (header.value) out->Delimited(2, *header.value);
  }
  out->Number(4, static_cast<uint64_t>(record.timestamp_ms));
}

// `records` compressed as `header` asks for; empty if that is not worth it.
Bytes CompressRecords(const RecordBatchBuilder::Header& header, std::string_view records) {
  // The two header fields of a compressed batch.
  constexpr size_t kFieldsSize = 2 + 1 + VarintSize(kUncompressedBytesMax);
  if (!IsCompressed(header.compression)) return {};
  Result<Bytes> compressed = Compress(header.compression, records);
  if (!compressed.ok() || compressed->size() + kFieldsSize >= records.size()) return {};
  return std::move(*compressed);
}

}  // namespace

size_t EncodedRecordSize(const NewRecord& record) {
  return DelimitedSize(RecordContentSize(record));
}

RecordBatchBuilder::RecordBatchBuilder(const Options& options)
    : options_(options),
      buffer_(Buffer::Allocate(std::max(options.initial_bytes, 2 * kHeaderBytesMax))) {}

bool RecordBatchBuilder::TryAppend(const NewRecord& record) {
  CHECK_GE(record.timestamp_ms, 0);
  const size_t content = RecordContentSize(record);
  const size_t size = DelimitedSize(content);
  if (!empty() && records_bytes() + size > options_.records_bytes_max) return false;
  Reserve(size);
  WireWriter out(buffer_.data() + end_);
  const bool is_packed = options_.encoding == BatchEncoding::kPacked;
  out.Byte(is_packed ? kPackedRecordTag : kTypedRecordTag);
  out.Varint(content);
  WriteRecordContent(record, &out);
  end_ += size;
  DCHECK_EQ(out.position(), buffer_.data() + end_);
  ++record_count_;
  max_timestamp_ms_ = std::max(max_timestamp_ms_, record.timestamp_ms);
  return true;
}

void RecordBatchBuilder::Reserve(size_t more) {
  if (end_ + more <= buffer_.size()) return;
  Buffer larger = Buffer::Allocate(std::max(end_ + more, 2 * buffer_.size()));
  std::memcpy(larger.data(), buffer_.data(), end_);
  buffer_ = std::move(larger);
}

Bytes RecordBatchBuilder::Finish(const Header& header) && {
  CHECK(!empty());
  CHECK_LT(header.first_sequence, kRecordSequenceModulus);
  RecordBatchView batch{.producer_id = header.producer_id,
                        .producer_epoch = header.producer_epoch,
                        .first_sequence = header.first_sequence,
                        .record_count = record_count_,
                        .max_timestamp_ms = max_timestamp_ms_,
                        .transaction_number = header.transaction_number,
                        .is_packed = options_.encoding == BatchEncoding::kPacked,
                        .records = {buffer_.data() + kHeaderBytesMax, records_bytes()}};
  const Bytes compressed = batch.is_packed ? CompressRecords(header, batch.records) : Bytes();
  if (!compressed.empty()) {
    batch.compression = header.compression;
    batch.uncompressed_size = static_cast<uint32_t>(records_bytes());
    batch.records = compressed.view();
  }
  if (batch.is_packed) batch.checksum = PackedChecksum(batch.records, header.destination);
  const size_t header_size = BatchHeaderSize(batch);
  CHECK_LE(header_size, kHeaderBytesMax);
  if (!compressed.empty()) {
    // Into memory of its own size: the records' is larger, and a batch may wait for long.
    Buffer smaller = Buffer::Allocate(header_size + compressed.size());
    WireWriter out(smaller.data());
    WriteBatchHeader(batch, &out);
    out.Raw(compressed.view());
    return std::move(smaller).Freeze();
  }
  const size_t begin = kHeaderBytesMax - header_size;
  WireWriter out(buffer_.data() + begin);
  WriteBatchHeader(batch, &out);
  CHECK_EQ(out.position(), buffer_.data() + kHeaderBytesMax);
  const size_t end = end_;
  return std::move(buffer_).Freeze(end).Slice(begin, end - begin);
}

}  // namespace millrace

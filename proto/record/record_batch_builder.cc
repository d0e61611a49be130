#include "proto/record/record_batch_builder.h"

#include <algorithm>
#include <cstring>

#include <glog/logging.h>

#include "proto/record/wire.h"

namespace millrace {
namespace {

constexpr unsigned kRecordTagPacked = WireTag(1, WireType::kLengthDelimited);
constexpr unsigned kRecordTagTyped = WireTag(14, WireType::kLengthDelimited);

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

size_t NumberSize(uint64_t value) { return value == 0 ? 0 : 1 + VarintSize(value); }

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
  out.Byte(static_cast<uint8_t>(is_packed ? kRecordTagPacked : kRecordTagTyped));
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

size_t RecordBatchBuilder::HeaderSize(const Header& header) const {
  size_t size = NumberSize(header.producer_id.value()) + NumberSize(header.producer_epoch) +
                NumberSize(header.first_sequence) + NumberSize(record_count_) +
                NumberSize(static_cast<uint64_t>(max_timestamp_ms_));
  if (options_.encoding == BatchEncoding::kPacked) size += 5 + 1 + VarintSize(records_bytes());
  return size;
}

Bytes RecordBatchBuilder::Finish(const Header& header) && {
  CHECK(!empty());
  CHECK_LT(header.first_sequence, kRecordSequenceModulus);
  const size_t header_size = HeaderSize(header);
  CHECK_LE(header_size, kHeaderBytesMax);
  const size_t begin = kHeaderBytesMax - header_size;
  const size_t end = end_;
  WireWriter out(buffer_.data() + begin);
  out.Number(1, header.producer_id.value());
  out.Number(2, header.producer_epoch);
  out.Number(3, header.first_sequence);
  out.Number(4, record_count_);
  out.Number(5, static_cast<uint64_t>(max_timestamp_ms_));
  if (options_.encoding == BatchEncoding::kPacked) {
    const std::string_view packed(buffer_.data() + kHeaderBytesMax, records_bytes());
    out.Byte(WireTag(7, WireType::kFixed32));
    out.Fixed32(PackedChecksum(packed, header.destination));
    out.Byte(WireTag(15, WireType::kLengthDelimited));
    out.Varint(packed.size());
  }
  CHECK_EQ(out.position(), buffer_.data() + kHeaderBytesMax);
  return std::move(buffer_).Freeze(end).Slice(begin, end - begin);
}

}  // namespace millrace

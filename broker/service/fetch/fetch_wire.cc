#include "broker/service/fetch/fetch_wire.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <google/protobuf/wire_format_lite.h>

#include "broker/controller/leader_epoch.h"

namespace millrace::broker {
namespace {

using google::protobuf::internal::WireFormatLite;

void AppendVarint(std::string* out, uint64_t value) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

void AppendLengthDelimited(std::string* out, int field, uint64_t size) {
  AppendVarint(out, WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  AppendVarint(out, size);
}

// All of the batch's field but the payload, which comes last.
Bytes EncodeHead(const FetchedBatch& batch, Offset reader, uint32_t leader_epoch_base) {
  const FrameHeader& header = batch.header;
  v1::FetchedBatch head;
  head.set_base_offset(header.base_offset.value());
  head.set_append_time_ms(header.append_time_ms);
  head.set_leader_epoch(LeaderEpochOf(leader_epoch_base, header.term).value());
  head.set_record_count(header.record_count);
  head.set_batch_checksum(header.stored_crc);
  if (header.base_offset > reader) {
    head.set_skipped_before(static_cast<uint64_t>(header.base_offset.value() - reader.value()));
  }
  head.set_end_offset((header.base_offset + header.offset_span).value());
  std::string inner = head.SerializeAsString();
  AppendLengthDelimited(&inner, v1::FetchedBatch::kBatchFieldNumber, batch.payload.size());
  std::string prefix;
  AppendLengthDelimited(&prefix, v1::FetchedPartition::kBatchesFieldNumber,
                        inner.size() + batch.payload.size());
  prefix += inner;
  CHECK_LE(prefix.size(), kBatchHeadBytesMax);
  return Bytes::Own(std::move(prefix));
}

}  // namespace

std::vector<Bytes> EncodeBatches(std::vector<FetchedBatch> batches, Offset reader,
                                 uint32_t leader_epoch_base) {
  std::vector<Bytes> pieces;
  pieces.reserve(2 * batches.size());
  for (FetchedBatch& batch : batches) {
    pieces.push_back(EncodeHead(batch, reader, leader_epoch_base));
    reader = std::max(reader, batch.header.base_offset + batch.header.offset_span);
    pieces.push_back(std::move(batch.payload));
  }
  return pieces;
}

std::vector<Bytes> EncodeFetchResponse(const v1::FetchedPartition& head,
                                       std::vector<Bytes> batches) {
  const std::string fields = head.SerializeAsString();
  std::string prefix;
  AppendLengthDelimited(&prefix, v1::FetchResponse::kPartitionsFieldNumber,
                        fields.size() + TotalSize(batches));
  std::vector<Bytes> pieces;
  pieces.reserve(batches.size() + 1);
  pieces.push_back(Bytes::Own(prefix + fields));
  for (Bytes& batch : batches) pieces.push_back(std::move(batch));
  return pieces;
}

}  // namespace millrace::broker

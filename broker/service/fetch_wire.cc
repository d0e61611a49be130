#include "broker/service/fetch_wire.h"

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

}  // namespace

uint64_t TotalSize(const std::vector<Bytes>& pieces) {
  uint64_t size = 0;
  for (const Bytes& piece : pieces) size += piece.size();
  return size;
}

void BatchEncoder::Add(const FrameHeader& header, Bytes payload, uint32_t checksum) {
  const Offset end = header.base_offset + header.offset_span;
  v1::FetchedBatch head;
  head.set_base_offset(header.base_offset.value());
  head.set_append_time_ms(header.append_time_ms);
  head.set_leader_epoch(LeaderEpochOf(leader_epoch_base_, header.term).value());
  head.set_record_count(header.record_count);
  head.set_batch_checksum(checksum);
  if (header.base_offset > reader_) {
    head.set_skipped_before(static_cast<uint64_t>(header.base_offset.value() - reader_.value()));
  }
  head.set_end_offset(end.value());
  reader_ = std::max(reader_, end);
  std::string inner = head.SerializeAsString();
  AppendLengthDelimited(&inner, v1::FetchedBatch::kBatchFieldNumber, payload.size());
  std::string prefix;
  AppendLengthDelimited(&prefix, v1::FetchedPartition::kBatchesFieldNumber,
                        inner.size() + payload.size());
  prefix += inner;
  CHECK_LE(prefix.size(), kHeadBytesMax);
  bytes_ += prefix.size() + payload.size();
  pieces_.push_back(Bytes::Own(std::move(prefix)));
  pieces_.push_back(std::move(payload));
}

void BatchEncoder::Add(const raft::core::Entry& entry) {
  const FrameHeader header = entry.frame.header();
  Add(header, entry.frame.payload(), header.stored_crc);
}

std::vector<Bytes> EncodeBatches(const std::vector<raft::core::Entry>& entries, Offset reader,
                                 uint32_t leader_epoch_base) {
  BatchEncoder encoder(reader, leader_epoch_base);
  for (const raft::core::Entry& entry : entries) encoder.Add(entry);
  return std::move(encoder).Take();
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

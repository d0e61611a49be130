#include "client/core/fetch_wire.h"

#include <utility>

#include <google/protobuf/wire_format_lite.h>

#include "client/core/error.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/record/coded_input.h"

namespace millrace::client {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr uint32_t Varint(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_VARINT);
}
constexpr uint32_t Delimited(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}
constexpr uint32_t Fixed32(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_FIXED32);
}

Status Malformed() { return InvalidArgument("the message is not a FetchResponse"); }

bool ParseBatch(const Bytes& bytes, FetchedBatchView* batch) {
  using Field = v1::FetchedBatch;
  CodedInputStream in = CodedInput(bytes);
  while (const uint32_t tag = in.ReadTag()) {
    uint64_t number = 0;
    bool ok = true;
    switch (tag) {
      case Varint(Field::kBaseOffsetFieldNumber):
        ok = in.ReadVarint64(&number);
        batch->base_offset = Offset(static_cast<int64_t>(number));
        break;
      case Varint(Field::kAppendTimeMsFieldNumber):
        ok = in.ReadVarint64(&number);
        batch->append_time_ms = static_cast<int64_t>(number);
        break;
      case Varint(Field::kLeaderEpochFieldNumber):
        ok = in.ReadVarint64(&number);
        batch->leader_epoch = Term(number);
        break;
      case Varint(Field::kRecordCountFieldNumber):
        ok = in.ReadVarint32(&batch->record_count);
        break;
      case Fixed32(Field::kBatchChecksumFieldNumber):
        ok = in.ReadLittleEndian32(&batch->checksum);
        break;
      case Varint(Field::kSkippedBeforeFieldNumber):
        ok = in.ReadVarint64(&batch->skipped_before);
        break;
      case Varint(Field::kEndOffsetFieldNumber):
        ok = in.ReadVarint64(&number);
        batch->end_offset = Offset(static_cast<int64_t>(number));
        break;
      case Delimited(Field::kBatchFieldNumber):
        ok = ReadPart(&in, bytes, &batch->batch);
        break;
      default:
        ok = WireFormatLite::SkipField(&in, tag);
    }
    if (!ok) return false;
  }
  return in.ConsumedEntireMessage();
}

bool ParseError(const Bytes& bytes, Status* status) {
  v1::Error error;
  if (!error.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return false;
  *status = FromError(error);
  return true;
}

// Reads the field of FetchedPartition that `tag` begins.
bool ReadPartitionField(CodedInputStream* in, uint32_t tag, const Bytes& bytes,
                        FetchedPartitionView* partition) {
  using Field = v1::FetchedPartition;
  uint64_t number = 0;
  Bytes part;
  switch (tag) {
    case Varint(Field::kFetchIdFieldNumber):
      return in->ReadVarint32(&partition->fetch_id);
    case Varint(Field::kHighWatermarkFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      partition->high_watermark = Offset(static_cast<int64_t>(number));
      return true;
    case Varint(Field::kLogStartOffsetFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      partition->log_start = Offset(static_cast<int64_t>(number));
      return true;
    case Varint(Field::kLeaderEpochFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      partition->leader_epoch = Term(number);
      return true;
    case Varint(Field::kNextOffsetFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      partition->next_offset = Offset(static_cast<int64_t>(number));
      return true;
    case Varint(Field::kEndOffsetFieldNumber):
      if (!in->ReadVarint64(&number)) return false;
      partition->end_offset = Offset(static_cast<int64_t>(number));
      return true;
    case Delimited(Field::kErrorFieldNumber):
      return ReadPart(in, bytes, &part) && ParseError(part, &partition->error);
    case Delimited(Field::kBatchesFieldNumber):
      return ReadPart(in, bytes, &part) && ParseBatch(part, &partition->batches.emplace_back());
    default:
      return WireFormatLite::SkipField(in, tag);
  }
}

bool ParsePartition(const Bytes& bytes, FetchedPartitionView* partition) {
  CodedInputStream in = CodedInput(bytes);
  while (true) {
    const int begin = in.CurrentPosition();
    const uint32_t tag = in.ReadTag();
    if (tag == 0) return in.ConsumedEntireMessage();
    if (!ReadPartitionField(&in, tag, bytes, partition)) return false;
    if (tag == Delimited(v1::FetchedPartition::kBatchesFieldNumber)) {
      partition->credit_bytes += static_cast<uint64_t>(in.CurrentPosition() - begin);
    }
  }
}

}  // namespace

Result<std::vector<FetchedPartitionView>> ParseFetchResponse(const Bytes& message) {
  std::vector<FetchedPartitionView> partitions;
  CodedInputStream in = CodedInput(message);
  while (const uint32_t tag = in.ReadTag()) {
    Bytes part;
    if (tag == Delimited(v1::FetchResponse::kPartitionsFieldNumber)) {
      if (!ReadPart(&in, message, &part) || !ParsePartition(part, &partitions.emplace_back())) {
        return Malformed();
      }
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return Malformed();
    }
  }
  if (!in.ConsumedEntireMessage()) return Malformed();
  return partitions;
}

}  // namespace millrace::client

#include "proto/record/record_batch.h"

#include <algorithm>
#include <optional>
#include <string>

#include "proto/base/checksum.h"
#include "proto/base/mutants.h"

namespace millrace {
namespace {

// Field numbers of record.proto; the differential test holds them against the generated code.
enum RecordField : unsigned {
  kKey = 1,
  kValue = 2,
  kHeaders = 3,
  kTimestampMs = 4,
  kOffsetDelta = 5
};
enum HeaderField : unsigned { kHeaderKey = 1, kHeaderValue = 2 };
enum BatchField : unsigned {
  kProducerId = 1,
  kProducerEpoch = 2,
  kFirstSequence = 3,
  kRecordCount = 4,
  kMaxTimestampMs = 5,
  kCompression = 6,
  kChecksum = 7,
  kUncompressedSize = 8,
  kTransactionNumber = 9,
  kRecords = 14,
  kPacked = 15,
};
constexpr unsigned kRecordsRecords = 1;  // of message Records

constexpr char kDeltaError[] = "offset_delta is the broker's to set";
// The one error of a record that is not the producer's mistake, known by its address.
constexpr const char* kUnknownField = "a field that this version does not know";

constexpr uint8_t Varint(unsigned field) { return WireTag(field, WireType::kVarint); }
constexpr uint8_t Delimited(unsigned field) { return WireTag(field, WireType::kLengthDelimited); }

Status Corrupt(std::string message) {
  return InvalidArgument("record batch: " + std::move(message), Reason::kCorruptBatch);
}

Status RecordError(uint32_t position, std::string_view what) {
  return Corrupt("record " + std::to_string(position) + ": " + std::string(what));
}

Status RecordError(uint32_t position, const char* what) {
  if (what != kUnknownField) return RecordError(position, std::string_view(what));
  return Unimplemented("record batch: record " + std::to_string(position) + " has " + what);
}

// Null if the header is well-formed; else what is wrong.
const char* ParseHeader(std::string_view bytes, UnknownFields unknown, HeaderView* header) {
  WireReader in(bytes);
  *header = {};
  bool has_key = false;
  uint8_t tag = 0;
  while (!in.AtEnd()) {
    const bool is_short = in.ReadTag(&tag);
    std::string_view content;
    if (tag == Delimited(kHeaderKey)) {
      if (has_key || !in.ReadDelimited(&header->key)) return "headers.key is repeated or cut off";
      has_key = true;
    } else if (tag == Delimited(kHeaderValue)) {
      if (header->value || !in.ReadDelimited(&content)) {
        return "headers.value is repeated or cut off";
      }
      header->value = content;
    } else if (unknown == UnknownFields::kRefuse) {
      return is_short ? kUnknownField : "headers: unknown field";
    } else if (!in.SkipField(tag)) {
      return "headers: a field is cut off";
    }
  }
  return IsValidUtf8(header->key) ? nullptr : "headers.key is not UTF-8";
}

const char* ReadBytesOnce(WireReader* in, std::optional<std::string_view>* field,
                          const char* error) {
  std::string_view content;
  if (field->has_value() || !in->ReadDelimited(&content)) return error;
  *field = content;
  return nullptr;
}

// Reads a varint field that must not have come before and must fit in `max`.
const char* ReadNumberOnce(WireReader* in, bool* seen, uint64_t max, uint64_t* value,
                           const char* error) {
  if (*seen || !in->ReadVarint(value) || *value > max) return error;
  *seen = true;
  return nullptr;
}

// Null if the record is well-formed; else what is wrong.
const char* ParseRecord(std::string_view bytes, UnknownFields unknown, RecordView* record) {
  *record = {};
  record->bytes = bytes;
  WireReader in(bytes);
  bool has_timestamp = false;
  bool has_delta = false;
  uint64_t number = 0;
  std::string_view content;
  HeaderView header;
  uint8_t tag = 0;
  while (!in.AtEnd()) {
    const char* error = nullptr;
    const bool is_short = in.ReadTag(&tag);
    switch (tag) {
      case Delimited(kKey):
        error = ReadBytesOnce(&in, &record->key, "key is repeated or cut off");
        break;
      case Delimited(kValue):
        error = ReadBytesOnce(&in, &record->value, "value is repeated or cut off");
        break;
      case Delimited(kHeaders):
        error = in.ReadDelimited(&content) ? ParseHeader(content, unknown, &header)
                                           : "headers is cut off";
        ++record->header_count;
        break;
      case Varint(kTimestampMs):
        error = ReadNumberOnce(&in, &has_timestamp, INT64_MAX, &number,
                               "timestamp_ms is repeated, cut off or negative");
        record->timestamp_ms = static_cast<int64_t>(number);
        break;
      case Varint(kOffsetDelta):
        error = ReadNumberOnce(&in, &has_delta, INT32_MAX, &number,
                               "offset_delta is repeated, cut off or negative");
        record->offset_delta = static_cast<int32_t>(number);
        break;
      default:
        if (unknown == UnknownFields::kRefuse) {
          error = is_short && tag >> 3 > kOffsetDelta ? kUnknownField : "unknown field";
        } else if (!in.SkipField(tag)) {
          error = "a field is cut off";
        }
    }
    if (error != nullptr) return error;
  }
  return nullptr;
}

Status RefuseHeaderField(uint8_t tag) {
  const unsigned field = tag >> 3;
  const std::string name =
      "unknown field " + std::to_string(field) + " (wire type " + std::to_string(tag & 7) + ")";
  if (field > kTransactionNumber && field < kRecords) return Unimplemented("record batch: " + name);
  return Corrupt(name);
}

// Reads the header field that `tag` begins.
Status ReadHeaderField(WireReader* in, uint8_t tag, UnknownFields unknown, RecordBatchView* batch) {
  uint64_t number = 0;
  switch (tag) {
    case Varint(kProducerId):
      if (!in->ReadVarint(&number)) return Corrupt("producer_id is cut off");
      batch->producer_id = ProducerId(number);
      return {};
    case Varint(kProducerEpoch):
      if (!in->ReadVarint32(&batch->producer_epoch)) return Corrupt("producer_epoch is no uint32");
      return {};
    case Varint(kFirstSequence):
      if (!in->ReadVarint32(&batch->first_sequence) ||
          batch->first_sequence >= kRecordSequenceModulus) {
        return Corrupt("first_sequence is no number below 2^31");
      }
      return {};
    case Varint(kRecordCount):
      if (!in->ReadVarint32(&batch->record_count)) return Corrupt("record_count is no uint32");
      return {};
    case Varint(kMaxTimestampMs):
      if (!in->ReadVarint(&number) || number > INT64_MAX) {
        return Corrupt("max_timestamp_ms is cut off or negative");
      }
      batch->max_timestamp_ms = static_cast<int64_t>(number);
      return {};
    case Varint(kCompression):
      if (!in->ReadVarint(&number)) return Corrupt("compression is cut off");
      if (number > static_cast<uint64_t>(BatchCompression::kZstd)) {
        return Corrupt("compression " + std::to_string(number) +
                       " is not supported by this version");
      }
      batch->compression = static_cast<BatchCompression>(number);
      return {};
    case WireTag(kChecksum, WireType::kFixed32):
      if (!in->ReadFixed32(&batch->checksum)) return Corrupt("checksum is cut off");
      return {};
    case Varint(kUncompressedSize):
      if (!in->ReadVarint32(&batch->uncompressed_size)) {
        return Corrupt("uncompressed_size is no uint32");
      }
      return {};
    case Varint(kTransactionNumber):
      if (!in->ReadVarint(&batch->transaction_number)) {
        return Corrupt("transaction_number is cut off");
      }
      return {};
    default:
      if (unknown == UnknownFields::kRefuse) return RefuseHeaderField(tag);
      if (!in->SkipField(tag)) return Corrupt("a field is cut off");
      return {};
  }
}

// `tag` begins the payload, whose fields reach to the end of the batch.
Status ReadPayload(WireReader* in, uint8_t tag, std::string_view from_tag, RecordBatchView* batch) {
  if (tag == Delimited(kRecords)) {
    batch->records = from_tag;
    return {};
  }
  batch->is_packed = true;
  if (!in->ReadDelimited(&batch->records)) return Corrupt("packed is cut off");
  if (!in->AtEnd()) return Corrupt("packed is followed by another field");
  return {};
}

// What the payload and the header say of each other.
Status CheckPayloadFields(const RecordBatchView& batch, bool has_checksum) {
  if (batch.is_packed && !has_checksum) return Corrupt("checksum is missing beside packed");
  if (!batch.is_packed && has_checksum) return Corrupt("checksum stands beside records");
  if (!IsCompressed(batch.compression)) {
    return batch.uncompressed_size == 0
               ? Status::Ok()
               : Corrupt("uncompressed_size is not 0, but packed is not compressed");
  }
  if (!batch.is_packed) return Corrupt("compression stands beside records");
  if (batch.uncompressed_size == 0 || batch.uncompressed_size > kUncompressedBytesMax) {
    return Corrupt("uncompressed_size is " + std::to_string(batch.uncompressed_size) +
                   ", not 1 to " + std::to_string(kUncompressedBytesMax));
  }
  return {};
}

struct RecordsFacts {
  uint32_t count = 0;
  int64_t max_timestamp_ms = 0;
  bool has_untimed = false;
  std::optional<uint32_t> first_without_key;
};

// Iterates over all records.
Result<RecordsFacts> CheckRecords(const RecordBatchView& batch) {
  RecordIterator records(batch, UnknownFields::kRefuse);
  RecordView record;
  RecordsFacts facts;
  while (records.Next(&record)) {
    if (record.offset_delta != 0) {
      return RecordError(records.records_read() - 1, kDeltaError);
    }
    facts.max_timestamp_ms = std::max(facts.max_timestamp_ms, record.timestamp_ms);
    facts.has_untimed |= record.timestamp_ms == 0;
    if (!record.key.has_value() && !facts.first_without_key.has_value()) {
      facts.first_without_key = records.records_read() - 1;
    }
  }
  RETURN_IF_ERROR(records.status());
  facts.count = records.records_read();
  return facts;
}

}  // namespace

uint32_t PackedChecksum(std::string_view packed, TopicPartition destination) {
  char tail[12];
  for (unsigned i = 0; i < 8; ++i) {
    tail[i] = static_cast<char>(destination.topic.value() >> (8 * i));
  }
  for (unsigned i = 0; i < 4; ++i) {
    tail[8 + i] = static_cast<char>(destination.partition.value() >> (8 * i));
  }
  return Crc32c({tail, sizeof(tail)}, Crc32c(packed));
}

Result<RecordBatchView> ParseRecordBatchHeader(std::string_view bytes, UnknownFields unknown) {
  RecordBatchView batch;
  WireReader in(bytes);
  unsigned last_field = 0;
  bool has_checksum = false;
  while (!in.AtEnd()) {
    const std::string_view from_tag = in.rest();
    uint8_t tag = 0;
    if (!in.ReadTag(&tag)) {
      if (unknown == UnknownFields::kRefuse) return Corrupt("unknown field");
      if (!in.SkipField(tag)) return Corrupt("a field is cut off");
      continue;
    }
    const unsigned field = tag >> 3;
    if (field <= last_field) {
      return Corrupt("field " + std::to_string(field) + " is repeated or out of order");
    }
    last_field = field;
    if (tag == Delimited(kRecords) || tag == Delimited(kPacked)) {
      RETURN_IF_ERROR(ReadPayload(&in, tag, from_tag, &batch));
      RETURN_IF_ERROR(CheckPayloadFields(batch, has_checksum));
      return batch;
    }
    RETURN_IF_ERROR(ReadHeaderField(&in, tag, unknown, &batch));
    has_checksum = has_checksum || field == kChecksum;
  }
  return Corrupt("neither records nor packed is there");
}

Result<RecordBatchView> ParseRecordBatch(std::string_view bytes, TopicPartition destination) {
  ASSIGN_OR_RETURN(RecordBatchView batch, ParseRecordBatchHeader(bytes, UnknownFields::kRefuse));
  RETURN_IF_ERROR(CheckRecordBatch(&batch, destination));
  return batch;
}

Result<OpenedBatch> OpenRecordBatch(std::string_view bytes) {
  ASSIGN_OR_RETURN(const RecordBatchView batch, ParseRecordBatchHeader(bytes));
  return OpenRecordBatch(batch);
}

Result<OpenedBatch> OpenRecordBatch(const RecordBatchView& batch) {
  OpenedBatch opened{.view = batch, .decompressed = {}};
  if (!IsCompressed(batch.compression)) return opened;
  ASSIGN_OR_RETURN(opened.decompressed,
                   Decompress(batch.compression, batch.records, batch.uncompressed_size));
  opened.view.records = opened.decompressed.view();
  opened.view.compression = BatchCompression::kNone;
  return opened;
}

Status CheckRecordBatch(RecordBatchView* batch, TopicPartition destination) {
  if (batch->is_packed && batch->checksum != PackedChecksum(batch->records, destination)) {
    return Corrupt("checksum does not match packed, topic id and partition");
  }
  ASSIGN_OR_RETURN(const OpenedBatch opened, OpenRecordBatch(*batch));
  ASSIGN_OR_RETURN(const RecordsFacts facts, CheckRecords(opened.view));
  if (facts.count == 0) return Corrupt("it holds no records");
  if (batch->record_count != facts.count && (batch->is_packed || batch->record_count != 0)) {
    return Corrupt("record_count is " + std::to_string(batch->record_count) + ", but there are " +
                   std::to_string(facts.count) + " records");
  }
  const bool is_given = batch->is_packed || batch->max_timestamp_ms != 0;
  if (is_given && batch->max_timestamp_ms != facts.max_timestamp_ms) {
    return Corrupt("max_timestamp_ms is " + std::to_string(batch->max_timestamp_ms) +
                   ", but the largest timestamp is " + std::to_string(facts.max_timestamp_ms));
  }
  batch->record_count = facts.count;
  batch->max_timestamp_ms = facts.max_timestamp_ms;
  batch->has_untimed_records = facts.has_untimed;
  batch->first_without_key = facts.first_without_key;
  return {};
}

Result<RecordView> ParseProducedRecord(std::string_view bytes, uint32_t number) {
  RecordView record;
  if (const char* error = ParseRecord(bytes, UnknownFields::kRefuse, &record); error != nullptr) {
    return RecordError(number, error);
  }
  if (record.offset_delta != 0) return RecordError(number, kDeltaError);
  return record;
}

RecordIterator::RecordIterator(const RecordBatchView& batch, UnknownFields unknown)
    : in_(batch.records),
      tag_(Delimited(batch.is_packed ? kRecordsRecords : kRecords)),
      unknown_(unknown) {
  if (IsCompressed(batch.compression)) status_ = Corrupt("its records are compressed");
}

bool RecordIterator::Next(RecordView* record) {
  if (in_.AtEnd() || !status_.ok()) return false;
  uint8_t tag = 0;
  std::string_view bytes;
  if (!in_.ReadTag(&tag) || tag != tag_) {
    status_ = RecordError(records_read_, "another field stands where a record should begin");
    return false;
  }
  if (!in_.ReadDelimited(&bytes)) {
    status_ = RecordError(records_read_, "cut off");
    return false;
  }
  if (const char* error = ParseRecord(bytes, unknown_, record); error != nullptr) {
    status_ = RecordError(records_read_, error);
    return false;
  }
  if (MILLRACE_MUTANT(kDeltaIgnored)) record->offset_delta = 0;
  record->place = std::max(records_read_, static_cast<uint32_t>(record->offset_delta));
  if (record->place < next_place_) {
    status_ = RecordError(records_read_, "offset_delta goes back");
    return false;
  }
  next_place_ = record->place + 1;
  ++records_read_;
  return true;
}

bool HeaderIterator::Next(HeaderView* header) {
  uint8_t tag = 0;
  std::string_view content;
  while (!in_.AtEnd()) {
    if (in_.ReadTag(&tag) && tag == Delimited(kHeaders)) {
      return in_.ReadDelimited(&content) &&
             ParseHeader(content, UnknownFields::kSkip, header) == nullptr;
    }
    if (!in_.SkipField(tag)) return false;
  }
  return false;
}

}  // namespace millrace

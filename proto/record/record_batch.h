// The record batch by hand: views over a serialized millrace.v1.RecordBatch
// (proto/millrace/v1/record.proto) that copy nothing, for the broker, which takes a producer's
// bytes or refuses them, and for the client, which iterates over what it fetched. docs/formats.md,
// "Record batch", has the rules.
//
// Two rules for what is not known: whoever takes a batch in refuses it (UNIMPLEMENTED), since it
// would be stored without being understood; whoever reads skips it, so that readers that are out
// already can read what comes later.
//
// Pure; any thread. Views live as long as the bytes that they were made of. Nothing here trusts the
// bytes: all other errors are INVALID_ARGUMENT (CORRUPT_BATCH) and name the field.
//
//   ASSIGN_OR_RETURN(const OpenedBatch batch, OpenRecordBatch(bytes));
//   RecordIterator records(batch.view);
//   RecordView record;
//   while (records.Next(&record)) { ... record.value ... }
//   RETURN_IF_ERROR(records.status());
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "proto/record/compression.h"
#include "proto/record/wire.h"

namespace millrace {

// Sequences count records and wrap here.
inline constexpr uint32_t kRecordSequenceModulus = uint32_t{1} << 31;

enum class UnknownFields : uint8_t { kSkip, kRefuse };

struct RecordBatchView {
  ProducerId producer_id;
  uint32_t producer_epoch = 0;
  uint32_t first_sequence = 0;
  uint32_t record_count = 0;
  int64_t max_timestamp_ms = 0;
  BatchCompression compression = BatchCompression::kUnspecified;
  uint32_t checksum = 0;            // of a packed batch
  uint32_t uncompressed_size = 0;   // of a compressed batch
  uint64_t transaction_number = 0;  // of its producer's transaction; 0: it is of none
  bool is_packed = false;
  // Known once all records are checked:
  bool has_untimed_records = false;           // whose timestamp_ms is 0
  std::optional<uint32_t> first_without_key;  // its place in the batch
  // The records one after the other, each with tag and length: what `packed` holds, or the batch's
  // end. Compressed, if `compression` says so: then OpenRecordBatch makes them readable.
  std::string_view records;
};

// A batch whose records can be iterated over, holding them if they had to be decompressed.
struct OpenedBatch {
  RecordBatchView view;
  Bytes decompressed;
};

struct RecordView {
  std::optional<std::string_view> key;
  std::optional<std::string_view> value;
  int64_t timestamp_ms = 0;
  int32_t offset_delta = 0;
  // Its offset minus the batch's base offset: the larger of its place in the batch and
  // offset_delta. Set by RecordIterator.
  uint32_t place = 0;
  uint32_t header_count = 0;
  // The serialized record; HeaderIterator reads its headers.
  std::string_view bytes;

  // What counts as its time: its batch's append time, where it has none.
  int64_t time_ms(int64_t append_time_ms) const {
    return timestamp_ms != 0 ? timestamp_ms : append_time_ms;
  }
};

struct HeaderView {
  std::string_view key;
  std::optional<std::string_view> value;
};

// Checks everything that a broker must know before it stores a batch for `destination`: header
// fields once each and in order, nothing unknown, one payload, every record's structure, the count,
// the largest timestamp and the checksum. For typed records count and largest timestamp are
// computed. A compressed batch is decompressed to be checked, which takes memory and time: not on a
// shard's thread.
Result<RecordBatchView> ParseRecordBatch(std::string_view bytes, TopicPartition destination);

// The second half of ParseRecordBatch, for a view that ParseRecordBatchHeader made.
Status CheckRecordBatch(RecordBatchView* batch, TopicPartition destination);

// The header alone; records are checked when they are iterated over. record_count and
// max_timestamp_ms are as the producer wrote them, 0 for most typed batches.
Result<RecordBatchView> ParseRecordBatchHeader(std::string_view bytes,
                                               UnknownFields unknown = UnknownFields::kSkip);

// The header, and the records ready to be iterated over, decompressed if need be. For a reader who
// has verified the whole batch's checksum. `bytes` outlives the result.
Result<OpenedBatch> OpenRecordBatch(std::string_view bytes);
Result<OpenedBatch> OpenRecordBatch(const RecordBatchView& batch);

// CRC32C of `packed`, continued over topic id and partition, so that a misrouted batch is refused.
uint32_t PackedChecksum(std::string_view packed, TopicPartition destination);

// A single record as a producer may send it. `number` names it in errors.
Result<RecordView> ParseProducedRecord(std::string_view bytes, uint32_t number);

class RecordIterator {
 public:
  // A compressed batch is malformed at its first record: it has to be opened.
  explicit RecordIterator(const RecordBatchView& batch,
                          UnknownFields unknown = UnknownFields::kSkip);

  // The next record; false at the end and at a malformed one, which status() tells apart.
  bool Next(RecordView* record);
  const Status& status() const { return status_; }
  uint32_t records_read() const { return records_read_; }

 private:
  WireReader in_;
  uint8_t tag_;
  UnknownFields unknown_;
  uint32_t records_read_ = 0;
  uint32_t next_place_ = 0;
  Status status_;
};

// The headers of a record that RecordIterator gave out, in order.
class HeaderIterator {
 public:
  explicit HeaderIterator(const RecordView& record) : in_(record.bytes) {}
  bool Next(HeaderView* header);

 private:
  WireReader in_;
};

}  // namespace millrace

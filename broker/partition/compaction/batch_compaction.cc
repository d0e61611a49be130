#include "broker/partition/compaction/batch_compaction.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "proto/record/batch_header.h"
#include "proto/record/compression.h"
#include "proto/record/offset_delta.h"
#include "proto/record/record_batch.h"

namespace millrace::broker {
namespace {

// What is left of a batch, and how many records it had.
struct Remains {
  std::vector<RecordView> records;
  uint32_t count_before = 0;
};

// The same records as they will be stored. Views what it was made of, and `encoded`.
struct Rewritten {
  RecordBatchView batch;
  Bytes encoded;
};

Status Malformed(const FrameHeader& header, std::string_view what) {
  return DataLoss("entry " + std::to_string(header.index.value()) + " of group " +
                  std::to_string(header.group.value()) + " is malformed: " + std::string(what));
}

Result<RecordBatchView> HeaderOf(const Frame& frame, const Bytes& payload) {
  CHECK(frame.header().type == FrameType::kRecordBatch);
  Result<RecordBatchView> batch = ParseRecordBatchHeader(payload.view());
  if (!batch.ok()) return Malformed(frame.header(), batch.status().message());
  return batch;
}

Result<OpenedBatch> Open(const FrameHeader& header, const RecordBatchView& batch) {
  Result<OpenedBatch> opened = OpenRecordBatch(batch);
  const bool is_damage = !opened.ok() && opened.status().code() == Code::kInvalidArgument;
  if (is_damage) return Malformed(header, opened.status().message());
  return opened;
}

// Calls `visit` with every record, in order, until it says false; whether it never did.
Result<bool> VisitRecords(const FrameHeader& header, const OpenedBatch& opened,
                          const std::function<bool(const RecordView&)>& visit) {
  RecordIterator records(opened.view);
  RecordView record;
  while (records.Next(&record)) {
    if (record.place >= header.offset_span) {
      return Malformed(header, "record " + std::to_string(record.place) +
                                   " lies behind the batch's " +
                                   std::to_string(header.offset_span));
    }
    if (!visit(record)) return false;
  }
  if (!records.status().ok()) return Malformed(header, records.status().message());
  return true;
}

KeyedRecord Keyed(const FrameHeader& header, const RecordView& record) {
  return {.offset = header.base_offset + record.place,
          .key = *record.key,
          .is_tombstone = !record.value.has_value()};
}

Result<Remains> Select(const FrameHeader& header, const OpenedBatch& opened,
                       const std::function<bool(const KeyedRecord&)>& is_kept) {
  Remains remains;
  RETURN_IF_ERROR(VisitRecords(header, opened, [&](const RecordView& record) {
                    ++remains.count_before;
                    if (!record.key.has_value() || is_kept(Keyed(header, record))) {
                      remains.records.push_back(record);
                    }
                    return true;
                  }).status());
  return remains;
}

std::string Encode(const std::vector<RecordView>& records, uint8_t tag) {
  std::string encoded;
  uint32_t count = 0;
  for (const RecordView& record : records) {
    // Where counting is right the field is left out, as a producer does.
    const bool is_counted = record.place == count++;
    AppendRecord(record, {.tag = tag, .offset_delta = is_counted ? 0 : record.place}, &encoded);
  }
  return encoded;
}

int64_t LargestTimestamp(const std::vector<RecordView>& records) {
  int64_t largest_ms = 0;
  for (const RecordView& record : records) largest_ms = std::max(largest_ms, record.timestamp_ms);
  return largest_ms;
}

// `before` with what it says of its records told anew; of typed ones, what was told.
RecordBatchView Retold(const RecordBatchView& before, const std::vector<RecordView>& records) {
  RecordBatchView batch = before;
  if (batch.is_packed || batch.record_count != 0) {
    batch.record_count = static_cast<uint32_t>(records.size());
  }
  if (batch.is_packed || batch.max_timestamp_ms != 0) {
    batch.max_timestamp_ms = LargestTimestamp(records);
  }
  return batch;
}

Result<Rewritten> Rewrite(const RecordBatchView& before, const std::vector<RecordView>& records,
                          TopicPartition home) {
  Rewritten rewritten{.batch = before, .encoded = {}};
  RecordBatchView& batch = rewritten.batch;
  Bytes encoded =
      Bytes::Own(Encode(records, before.is_packed ? kPackedRecordTag : kTypedRecordTag));
  if (encoded.size() > kServedWholeBytesMax) {
    if (!before.is_packed) encoded = Bytes::Own(Encode(records, kPackedRecordTag));
    batch.is_packed = true;
    batch.compression = BatchCompression::kUnspecified;
  }
  batch = Retold(batch, records);
  batch.uncompressed_size = 0;
  if (IsCompressed(batch.compression)) {
    batch.uncompressed_size = static_cast<uint32_t>(encoded.size());
    ASSIGN_OR_RETURN(encoded, Compress(batch.compression, encoded.view()));
  }
  rewritten.encoded = std::move(encoded);
  batch.records = rewritten.encoded.view();
  if (batch.is_packed) batch.checksum = PackedChecksum(batch.records, home);
  return rewritten;
}

uint16_t FlagsOf(const FrameHeader& before, const RecordBatchView& batch) {
  auto flags = static_cast<uint16_t>(before.flags & ~(kFramePacked | kFrameCompressed));
  flags |= kFrameCompacted;
  if (batch.is_packed) flags |= kFramePacked;
  if (IsCompressed(batch.compression)) flags |= kFrameCompressed;
  return flags;
}

// The newest of the records' times: its own, or when it was appended.
int64_t NewestTime(const FrameHeader& header, const std::vector<RecordView>& records) {
  const bool has_untimed =
      std::any_of(records.begin(), records.end(),
                  [](const RecordView& record) { return record.timestamp_ms == 0; });
  const int64_t largest_ms = LargestTimestamp(records);
  return has_untimed ? std::max(largest_ms, header.append_time_ms) : largest_ms;
}

Frame Seal(const FrameHeader& before, const RecordBatchView& batch,
           const std::vector<RecordView>& records) {
  const size_t size = BatchHeaderSize(batch) + batch.records.size();
  Buffer buffer = AllocateFrame(size);
  WireWriter out(FramePayload(buffer));
  WriteBatchHeader(batch, &out);
  out.Raw(batch.records);
  CHECK_EQ(out.position(), FramePayload(buffer) + size);
  FrameHeader header = before;
  header.flags = FlagsOf(before, batch);
  header.payload_size = static_cast<uint32_t>(size);
  header.record_count = static_cast<uint32_t>(records.size());
  header.max_timestamp_ms = NewestTime(before, records);
  header.stored_crc = Crc32c({FramePayload(buffer), size});
  return SealFrame(header, std::move(buffer));
}

}  // namespace

Result<bool> VisitRecords(const Frame& frame, const std::function<bool(const RecordView&)>& visit) {
  const FrameHeader header = frame.header();
  const Bytes payload = frame.payload();
  ASSIGN_OR_RETURN(const RecordBatchView batch, HeaderOf(frame, payload));
  ASSIGN_OR_RETURN(const OpenedBatch opened, Open(header, batch));
  return VisitRecords(header, opened, visit);
}

Result<bool> VisitKeys(const Frame& frame, const std::function<bool(const KeyedRecord&)>& visit) {
  const FrameHeader header = frame.header();
  return VisitRecords(frame, [&](const RecordView& record) {
    return !record.key.has_value() || visit(Keyed(header, record));
  });
}

Result<CompactedBatch> CompactBatch(const Frame& frame, TopicPartition home,
                                    const std::function<bool(const KeyedRecord&)>& is_kept) {
  const FrameHeader header = frame.header();
  const Bytes payload = frame.payload();
  ASSIGN_OR_RETURN(const RecordBatchView batch, HeaderOf(frame, payload));
  ASSIGN_OR_RETURN(const OpenedBatch opened, Open(header, batch));
  ASSIGN_OR_RETURN(const Remains remains, Select(header, opened, is_kept));
  if (remains.records.size() == remains.count_before) return CompactedBatch();
  if (remains.records.empty()) {
    return CompactedBatch{.outcome = CompactedBatch::Outcome::kEmpty, .frame = {}};
  }
  ASSIGN_OR_RETURN(const Rewritten rewritten, Rewrite(batch, remains.records, home));
  // What is taken in has less than 4 MiB, and a record at most doubles and doubles once more.
  const size_t size = BatchHeaderSize(rewritten.batch) + rewritten.batch.records.size();
  if (FrameSize(size) > kFrameSizeMax)
    return Malformed(header, "compacted, it gets too large for a frame");
  return CompactedBatch{.outcome = CompactedBatch::Outcome::kRewritten,
                        .frame = Seal(header, rewritten.batch, remains.records)};
}

}  // namespace millrace::broker

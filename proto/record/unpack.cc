#include "proto/record/unpack.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/record/batch_header.h"
#include "proto/record/offset_delta.h"
#include "proto/record/record_batch_builder.h"
#include "proto/record/wire.h"

namespace millrace {
namespace {

constexpr size_t kHeaderBytesMax = RecordBatchBuilder::kHeaderBytesMax;

}  // namespace

size_t UnpackedSize(const RecordBatchView& batch) {
  return IsCompressed(batch.compression) ? batch.uncompressed_size : batch.records.size();
}

Result<BatchUnpacker> BatchUnpacker::Open(const RecordBatchView& batch, const Options& options) {
  CHECK(batch.is_packed);
  ASSIGN_OR_RETURN(OpenedBatch opened, OpenRecordBatch(batch));
  return BatchUnpacker(std::move(opened), options);
}

BatchUnpacker::BatchUnpacker(OpenedBatch opened, const Options& options)
    : opened_(std::move(opened)),
      records_bytes_max_(options.bytes_max - std::min(options.bytes_max, kHeaderBytesMax)),
      records_(opened_.view) {
  do {
    Advance();
  } while (has_record_ && record_.place < options.first_place);
}

bool BatchUnpacker::Next(UnpackedBatch* piece) {
  if (!has_record_) return false;
  *piece = {.bytes = {}, .first_place = record_.place, .end_place = record_.place};
  typed_.clear();
  int64_t max_timestamp_ms = 0;
  do {
    AppendRecord(record_, {.tag = kTypedRecordTag}, &typed_);
    max_timestamp_ms = std::max(max_timestamp_ms, record_.timestamp_ms);
    ++piece->end_place;
    ++piece->record_count;
    Advance();
  } while (has_record_ && record_.place == piece->end_place &&
           typed_.size() + DelimitedSize(record_.bytes.size()) <= records_bytes_max_);
  if (!status().ok()) return false;
  const RecordBatchView header = HeaderOf(*piece, max_timestamp_ms);
  Buffer buffer = Buffer::Allocate(BatchHeaderSize(header) + typed_.size());
  WireWriter out(buffer.data());
  WriteBatchHeader(header, &out);
  out.Raw(typed_);
  piece->bytes = std::move(buffer).Freeze();
  return true;
}

RecordBatchView BatchUnpacker::HeaderOf(const UnpackedBatch& piece,
                                        int64_t max_timestamp_ms) const {
  RecordBatchView typed{.producer_id = opened_.view.producer_id,
                        .producer_epoch = opened_.view.producer_epoch,
                        .first_sequence = opened_.view.first_sequence,
                        .record_count = piece.record_count,
                        .max_timestamp_ms = max_timestamp_ms};
  if (typed.producer_id != ProducerId()) {
    typed.first_sequence = (typed.first_sequence + piece.first_place) % kRecordSequenceModulus;
  }
  return typed;
}

}  // namespace millrace

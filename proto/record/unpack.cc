#include "proto/record/unpack.h"

#include <glog/logging.h>

#include "proto/record/batch_header.h"
#include "proto/record/wire.h"

namespace millrace {
namespace {

constexpr uint8_t kRecordTagTyped = WireTag(14, WireType::kLengthDelimited);

// The header of the typed batch; its records are still to come.
RecordBatchView TypedHeader(const RecordBatchView& batch) {
  RecordBatchView typed = batch;
  typed.is_packed = false;
  typed.compression = BatchCompression::kUnspecified;
  typed.checksum = 0;
  typed.uncompressed_size = 0;
  return typed;
}

size_t RecordsSize(const RecordBatchView& batch) {
  return IsCompressed(batch.compression) ? batch.uncompressed_size : batch.records.size();
}

}  // namespace

size_t UnpackedSize(const RecordBatchView& batch) {
  return BatchHeaderSize(TypedHeader(batch)) + RecordsSize(batch);
}

Result<Bytes> UnpackRecordBatch(const RecordBatchView& batch) {
  CHECK(batch.is_packed);
  ASSIGN_OR_RETURN(const OpenedBatch opened, OpenRecordBatch(batch));
  Buffer typed = Buffer::Allocate(UnpackedSize(batch));
  WireWriter out(typed.data());
  WriteBatchHeader(TypedHeader(batch), &out);
  RecordIterator records(opened.view);
  RecordView record;
  while (records.Next(&record)) {
    // The tags of a record, packed or typed, take one byte each: only that byte differs.
    out.Byte(kRecordTagTyped);
    out.Varint(record.bytes.size());
    out.Raw(record.bytes);
  }
  RETURN_IF_ERROR(records.status());
  return std::move(typed).Freeze(static_cast<size_t>(out.position() - typed.data()));
}

}  // namespace millrace

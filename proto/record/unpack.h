// A packed batch as batches with typed `records`, for readers that neither decompress nor parse
// twice: in pieces, since what is small compressed may be more than one message can hold.
//
// One owner; any one thread; takes time and memory as decompressing does. Views what it is given
// until it is gone.
//
//   ASSIGN_OR_RETURN(BatchUnpacker unpacker, BatchUnpacker::Open(batch, {.bytes_max = 1 << 20}));
//   UnpackedBatch piece;
//   while (unpacker.Next(&piece)) { ... base_offset + piece.first_place ... }
//   RETURN_IF_ERROR(unpacker.status());
#pragma once

#include <cstdint>
#include <string>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "proto/record/record_batch.h"

namespace millrace {

// Records that follow each other without a hole, as a serialized RecordBatch of their own.
struct UnpackedBatch {
  Bytes bytes;
  // The places of its first record, and one past its last, in the batch that it was part of: what
  // its offsets are above that batch's base offset.
  uint32_t first_place = 0;
  uint32_t end_place = 0;
  uint32_t record_count = 0;
};

class BatchUnpacker {
 public:
  struct Options {
    // Records before it are left out.
    uint32_t first_place = 0;
    // The size of a piece. A record for which this is too little is a piece by itself.
    size_t bytes_max = SIZE_MAX;
  };

  // INVALID_ARGUMENT (CORRUPT_BATCH) if it cannot be decompressed. Pre: `batch` is packed.
  static Result<BatchUnpacker> Open(const RecordBatchView& batch, const Options& options);

  // The next piece; false at the end, and where something else than a record stands, which status()
  // tells apart. Header fields are the batch's, but for those that speak of `packed`, and the
  // sequence, count and largest timestamp are of the piece's records. Of its records, offset_delta
  // is left out: in a piece, counting is right.
  bool Next(UnpackedBatch* piece);
  const Status& status() const { return records_.status(); }

 private:
  BatchUnpacker(OpenedBatch opened, const Options& options);

  void Advance() { has_record_ = records_.Next(&record_); }
  RecordBatchView HeaderOf(const UnpackedBatch& piece, int64_t max_timestamp_ms) const;

  OpenedBatch opened_;
  size_t records_bytes_max_;
  RecordIterator records_;
  RecordView record_;  // the next piece's first, if has_record_
  bool has_record_ = false;
  std::string typed_;  // the piece's records
};

// What a batch takes once it is unpacked, about: whatever stands before each piece comes on top.
size_t UnpackedSize(const RecordBatchView& batch);

}  // namespace millrace

// Takes a sealed batch apart into smaller ones, for a broker that found it too large: the same
// records in the same order, each with the sequence that it had.
//
// Pure; any thread. Called by Producer with batches of its own making.
//
//   std::vector<BatchPart> parts = SplitBatch(batch, {.destination = partition,
//                                                     .records_bytes_max = 64 << 10});
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::client {

struct BatchPart {
  Bytes bytes;
  uint32_t record_count = 0;
  size_t records_bytes = 0;  // before compression
};

struct SplitOptions {
  TopicPartition destination;
  // A part has no more, but for a part of one record.
  size_t records_bytes_max = 0;
  BatchEncoding encoding = BatchEncoding::kPacked;
  BatchCompression compression = BatchCompression::kNone;
};

// Pre: `batch` is one that RecordBatchBuilder has made.
std::vector<BatchPart> SplitBatch(const Bytes& batch, const SplitOptions& options);

}  // namespace millrace::client

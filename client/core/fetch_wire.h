// Reads a FetchResponse without touching the batches' bytes: they stay where they are, in the
// message, so that their checksum can be verified over exactly what was stored.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(std::vector<FetchedPartitionView> partitions, ParseFetchResponse(message));
#pragma once

#include <cstdint>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::client {

struct FetchedBatchView {
  Offset base_offset;
  int64_t append_time_ms = 0;
  Term leader_epoch;
  uint32_t record_count = 0;
  uint32_t checksum = 0;
  uint64_t skipped_before = 0;
  Offset end_offset;
  Bytes batch;  // the serialized RecordBatch
};

struct FetchedPartitionView {
  uint32_t fetch_id = 0;
  Offset high_watermark;
  Offset log_start;
  Term leader_epoch;
  Offset next_offset;
  Offset end_offset;  // for this reader
  Status error;
  std::vector<FetchedBatchView> batches;
  // What `batches` cost of the stream's credit.
  uint64_t credit_bytes = 0;
};

// INVALID_ARGUMENT if the bytes are no FetchResponse. Fields that are not known are skipped: a
// newer broker may send them.
Result<std::vector<FetchedPartitionView>> ParseFetchResponse(const Bytes& message);

}  // namespace millrace::client

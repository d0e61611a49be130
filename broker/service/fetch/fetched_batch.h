// A batch on its way to a reader: as it is stored, or rewritten for whoever does not take that
// form.
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/partition/partition.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::broker {

struct FetchedBatch {
  // What is told of it. Of a rewritten batch: where the records that are left lie, and stored_crc
  // of their bytes.
  FrameHeader header;
  Bytes payload;  // a serialized RecordBatch
};

inline FetchedBatch FetchedAsStored(const raft::core::Entry& entry) {
  const FrameHeader header = entry.frame.header();
  return {.header = header,
          .payload = entry.frame.bytes().Slice(kFrameHeaderSize, header.payload_size)};
}

// What a read has found, in forms that its reader takes.
struct FetchedBatches {
  PartitionOffsets offsets;
  uint32_t leader_epoch_base = 0;  // of the batches' terms
  std::vector<FetchedBatch> batches;
  // Where the reader goes on: one past the last record in them, or past the last batch.
  Offset next_offset;
};

}  // namespace millrace::broker

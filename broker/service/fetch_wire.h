// Writes what a Fetch stream answers: small headers made here, and between them the stored batches
// as they lie in memory (design D5: nest, never merge; nothing a producer sends can pose as a
// broker's field).
//
// Pure; any thread.
#pragma once

#include <vector>

#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::broker {

// `entries` as repeated FetchedPartition.batches, tags and lengths included: pieces to be sent one
// after the other.
std::vector<Bytes> EncodeBatches(const std::vector<raft::core::Entry>& entries);

// Appends one such batch: `payload`, a serialized RecordBatch with that CRC32C, under what the
// frame says.
void EncodeBatch(const FrameHeader& header, Bytes payload, uint32_t checksum,
                 std::vector<Bytes>* pieces);

// A FetchResponse with one partition: the fields of `head` (without batches), then `batches`.
std::vector<Bytes> EncodeFetchResponse(const v1::FetchedPartition& head,
                                       std::vector<Bytes> batches);

uint64_t TotalSize(const std::vector<Bytes>& pieces);

}  // namespace millrace::broker

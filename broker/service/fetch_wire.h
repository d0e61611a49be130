// Writes what a Fetch stream answers: small headers made here, and between them the stored batches
// as they lie in memory (design D5: nest, never merge; nothing a producer sends can pose as a
// broker's field).
//
// Pure; any thread.
#pragma once

#include <utility>
#include <vector>

#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/frame/frame.h"
#include "raft/core/entry.h"

namespace millrace::broker {

// Batches as repeated FetchedPartition.batches, tags and lengths included: pieces to be sent one
// after the other, to a reader that stands at an offset. `leader_epoch_base` is the topic's.
class BatchEncoder {
 public:
  // What stands before a batch at most.
  static constexpr uint64_t kHeadBytesMax = 80;

  BatchEncoder(Offset reader, uint32_t leader_epoch_base)
      : reader_(reader), leader_epoch_base_(leader_epoch_base) {}

  // Adds a stored batch as it is.
  void Add(const raft::core::Entry& entry);
  // Adds `payload`, a serialized RecordBatch with that CRC32C, under what the frame says.
  void Add(const FrameHeader& header, Bytes payload, uint32_t checksum);
  bool empty() const { return pieces_.empty(); }
  // The size of what was added, as it will be sent.
  uint64_t bytes() const { return bytes_; }
  std::vector<Bytes> Take() && { return std::move(pieces_); }

 private:
  Offset reader_;
  const uint32_t leader_epoch_base_;
  uint64_t bytes_ = 0;
  std::vector<Bytes> pieces_;
};

// `entries` as they are, for a reader that stands at `reader`.
std::vector<Bytes> EncodeBatches(const std::vector<raft::core::Entry>& entries, Offset reader,
                                 uint32_t leader_epoch_base);

// A FetchResponse with one partition: the fields of `head` (without batches), then `batches`.
std::vector<Bytes> EncodeFetchResponse(const v1::FetchedPartition& head,
                                       std::vector<Bytes> batches);

uint64_t TotalSize(const std::vector<Bytes>& pieces);

}  // namespace millrace::broker

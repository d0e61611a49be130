// Writes what a Fetch stream answers: small headers made here, and between them the stored batches
// as they lie in memory (design D5: nest, never merge; nothing a producer sends can pose as a
// broker's field).
//
// Pure; any thread.
#pragma once

#include <utility>
#include <vector>

#include "broker/service/fetch/fetched_batch.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/bytes.h"

namespace millrace::broker {

// What stands before a batch at most.
inline constexpr uint64_t kBatchHeadBytesMax = 80;

// Batches as repeated FetchedPartition.batches, tags and lengths included: pieces to be sent one
// after the other, to a reader that stands at `reader`. `leader_epoch_base` is the topic's.
std::vector<Bytes> EncodeBatches(std::vector<FetchedBatch> batches, Offset reader,
                                 uint32_t leader_epoch_base);

// A FetchResponse with one partition: the fields of `head` (without batches), then `batches`.
std::vector<Bytes> EncodeFetchResponse(const v1::FetchedPartition& head,
                                       std::vector<Bytes> batches);

}  // namespace millrace::broker

// What brokers say to each other of a partition, as the partition's own types.
//
// Pure; any thread. Bytes of others are never trusted: INTERNAL, DATA_LOSS or INVALID_ARGUMENT.
//
//   forwarder.Forward({..., .body = EncodeRead(group, {.offset = o, .bytes_max = n}, wait)}, ...);
//   Result<ReadOutcome> read = DecodeReadReply(body);
#pragma once

#include <optional>
#include <vector>

#include "broker/partition/partition.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

struct ForwardedProduce {
  RaftGroupId group;
  SentBatch batch;
};
std::vector<Bytes> EncodeProduce(RaftGroupId group, SentBatch batch);
Result<ForwardedProduce> DecodeProduce(const Bytes& body);
std::vector<Bytes> EncodeProduceReply(const ProduceOutcome& outcome);
Result<ProduceOutcome> DecodeProduceReply(const Bytes& body);

struct ForwardedRead {
  RaftGroupId group;
  ReadRequest request;
  Duration wait{};
};
std::vector<Bytes> EncodeRead(RaftGroupId group, const ReadRequest& request, Duration wait);
Result<ForwardedRead> DecodeRead(const Bytes& body);
// With the frames as they are stored.
std::vector<Bytes> EncodeReadReply(const ReadOutcome& outcome);
Result<ReadOutcome> DecodeReadReply(const Bytes& body);

struct ForwardedOffsets {
  RaftGroupId group;
  OffsetsQuery query;
};
std::vector<Bytes> EncodeOffsets(RaftGroupId group, const OffsetsQuery& query);
Result<ForwardedOffsets> DecodeOffsets(const Bytes& body);
std::vector<Bytes> EncodeOffsetsReply(const PartitionOffsets& offsets);
// `has_timestamp`: whether a record was asked for.
Result<PartitionOffsets> DecodeOffsetsReply(const Bytes& body, bool has_timestamp);

struct ForwardedDelete {
  RaftGroupId group;
  Offset before;
};
std::vector<Bytes> EncodeDelete(RaftGroupId group, Offset before);
Result<ForwardedDelete> DecodeDelete(const Bytes& body);

}  // namespace millrace::broker

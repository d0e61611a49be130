#include "broker/routing/partition_messages.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "broker/routing/attached_bytes.h"
#include "millrace/internal/v1/forward.pb.h"
#include "raft/codec/entry_codec.h"

namespace millrace::broker {
namespace {

namespace wire = ::millrace::internal::v1;

// A batch up to this size is copied: it may be a small part of its client's message, which would
// be held as long as the way to the leader is slow, and nobody would count it.
constexpr size_t kCopiedBytesMax = 256 << 10;

// Those of a read are of a part of the log that somebody may hold to be records: nothing else
// passes.
Result<std::vector<raft::core::Entry>> DecodeEntries(const Bytes& frames) {
  std::vector<raft::core::Entry> entries;
  size_t at = 0;
  while (at < frames.size()) {
    ASSIGN_OR_RETURN(raft::core::Entry entry,
                     raft::DecodeStored(frames.Slice(at, frames.size() - at)));
    if (entry.frame.header().type != FrameType::kRecordBatch ||
        entry.type != raft::core::EntryType::kCommand) {
      return DataLoss("the leader's answer to a read holds an entry that is no batch");
    }
    at += entry.frame.size();
    entries.push_back(std::move(entry));
  }
  return entries;
}

uint64_t UnstableOffsets(const PartitionOffsets& offsets) {
  return static_cast<uint64_t>(offsets.high_watermark - offsets.last_stable);
}

// Of a reply that says no more of them than there are offsets.
template <typename Reply>
Offset LastStable(const Reply& reply) {
  const auto end = static_cast<uint64_t>(std::max<int64_t>(reply.high_watermark(), 0));
  return Offset(static_cast<int64_t>(end - std::min(end, reply.unstable_offsets())));
}

}  // namespace

std::vector<Bytes> EncodeProduce(RaftGroupId group, SentBatch batch) {
  wire::PartitionProduceRequest request;
  request.set_group_id(group.value());
  request.set_is_repeated(batch.is_repeated);
  if (batch.expected_end) request.set_expected_end_offset(batch.expected_end->value());
  if (batch.bytes.size() <= kCopiedBytesMax) batch.bytes = Bytes::CopyOf(batch.bytes.view());
  return AttachBytes(request, {std::move(batch.bytes)});
}

Result<ForwardedProduce> DecodeProduce(const Bytes& body) {
  wire::PartitionProduceRequest request;
  ASSIGN_OR_RETURN(Bytes batch, DetachBytes(body, &request));
  ForwardedProduce produce{
      .group = RaftGroupId(request.group_id()),
      .batch = {.bytes = std::move(batch), .is_repeated = request.is_repeated()}};
  if (request.has_expected_end_offset()) {
    produce.batch.expected_end = Offset(request.expected_end_offset());
  }
  return produce;
}

std::vector<Bytes> EncodeProduceReply(const ProduceOutcome& outcome) {
  wire::PartitionProduceReply reply;
  reply.set_base_offset(outcome.base_offset.value());
  reply.set_append_time_ms(outcome.append_time_ms);
  reply.set_is_duplicate(outcome.is_duplicate);
  reply.set_leader_epoch(outcome.leader_epoch.value());
  return AttachBytes(reply);
}

Result<ProduceOutcome> DecodeProduceReply(const Bytes& body) {
  wire::PartitionProduceReply reply;
  RETURN_IF_ERROR(DetachBytes(body, &reply).status());
  return ProduceOutcome{.base_offset = Offset(reply.base_offset()),
                        .append_time_ms = reply.append_time_ms(),
                        .is_duplicate = reply.is_duplicate(),
                        .leader_epoch = LeaderEpochFrom(reply.leader_epoch())};
}

std::vector<Bytes> EncodeRead(RaftGroupId group, const ReadRequest& request, Duration wait) {
  wire::PartitionReadRequest read;
  read.set_group_id(group.value());
  read.set_offset(request.offset.value());
  read.set_bytes_max(static_cast<uint32_t>(std::min<uint64_t>(request.bytes_max, UINT32_MAX)));
  read.set_is_committed(request.isolation == Isolation::kCommitted);
  read.set_wait_ms(
      static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(wait).count()));
  return AttachBytes(read);
}

Result<ForwardedRead> DecodeRead(const Bytes& body) {
  wire::PartitionReadRequest read;
  RETURN_IF_ERROR(DetachBytes(body, &read).status());
  return ForwardedRead{.group = RaftGroupId(read.group_id()),
                       .request = {.offset = Offset(read.offset()),
                                   .bytes_max = read.bytes_max(),
                                   .isolation = read.is_committed() ? Isolation::kCommitted
                                                                    : Isolation::kUncommitted},
                       .wait = std::chrono::milliseconds(read.wait_ms())};
}

std::vector<Bytes> EncodeReadReply(const ReadOutcome& outcome) {
  wire::PartitionReadReply reply;
  reply.set_high_watermark(outcome.offsets.high_watermark.value());
  reply.set_log_start_offset(outcome.offsets.log_start.value());
  reply.set_leader_epoch(outcome.offsets.leader_epoch.value());
  reply.set_next_offset(outcome.next_offset.value());
  reply.set_leader_epoch_base(outcome.leader_epoch_base);
  reply.set_unstable_offsets(UnstableOffsets(outcome.offsets));
  std::vector<Bytes> frames;
  frames.reserve(outcome.entries.size());
  for (const raft::core::Entry& entry : outcome.entries) frames.push_back(entry.frame.bytes());
  return AttachBytes(reply, std::move(frames));
}

Result<ReadOutcome> DecodeReadReply(const Bytes& body) {
  wire::PartitionReadReply reply;
  ASSIGN_OR_RETURN(const Bytes frames, DetachBytes(body, &reply));
  ASSIGN_OR_RETURN(std::vector<raft::core::Entry> entries, DecodeEntries(frames));
  return ReadOutcome{.offsets = {.log_start = Offset(reply.log_start_offset()),
                                 .high_watermark = Offset(reply.high_watermark()),
                                 .last_stable = LastStable(reply),
                                 .leader_epoch = LeaderEpochFrom(reply.leader_epoch()),
                                 .timestamp_offset = std::nullopt,
                                 .found = std::nullopt},
                     .entries = std::move(entries),
                     .next_offset = Offset(reply.next_offset()),
                     .leader_epoch_base = reply.leader_epoch_base()};
}

std::vector<Bytes> EncodeOffsets(RaftGroupId group, const OffsetsQuery& query) {
  wire::PartitionOffsetsRequest request;
  request.set_group_id(group.value());
  if (query.timestamp_ms.has_value()) request.set_timestamp_ms(*query.timestamp_ms);
  request.set_newest(query.is_newest);
  return AttachBytes(request);
}

Result<ForwardedOffsets> DecodeOffsets(const Bytes& body) {
  wire::PartitionOffsetsRequest request;
  RETURN_IF_ERROR(DetachBytes(body, &request).status());
  ForwardedOffsets offsets{.group = RaftGroupId(request.group_id()),
                           .query = {.timestamp_ms = std::nullopt, .is_newest = request.newest()}};
  if (request.has_timestamp_ms()) offsets.query.timestamp_ms = request.timestamp_ms();
  return offsets;
}

std::vector<Bytes> EncodeDelete(RaftGroupId group, Offset before) {
  wire::PartitionDeleteRequest request;
  request.set_group_id(group.value());
  request.set_before_offset(before.value());
  return AttachBytes(request);
}

Result<ForwardedDelete> DecodeDelete(const Bytes& body) {
  wire::PartitionDeleteRequest request;
  RETURN_IF_ERROR(DetachBytes(body, &request).status());
  return ForwardedDelete{.group = RaftGroupId(request.group_id()),
                         .before = Offset(request.before_offset())};
}

std::vector<Bytes> EncodeOffsetsReply(const PartitionOffsets& offsets) {
  wire::PartitionOffsetsReply reply;
  reply.set_high_watermark(offsets.high_watermark.value());
  reply.set_log_start_offset(offsets.log_start.value());
  reply.set_leader_epoch(offsets.leader_epoch.value());
  reply.set_unstable_offsets(UnstableOffsets(offsets));
  if (offsets.timestamp_offset.has_value()) {
    reply.set_timestamp_offset(offsets.timestamp_offset->value());
  }
  if (offsets.found.has_value()) {
    reply.set_found_timestamp_ms(offsets.found->timestamp_ms);
    reply.set_found_leader_epoch(offsets.found->leader_epoch.value());
  }
  return AttachBytes(reply);
}

Result<PartitionOffsets> DecodeOffsetsReply(const Bytes& body, bool has_timestamp) {
  wire::PartitionOffsetsReply reply;
  RETURN_IF_ERROR(DetachBytes(body, &reply).status());
  if (reply.has_timestamp_offset() != has_timestamp ||
      reply.has_found_timestamp_ms() != reply.has_found_leader_epoch()) {
    return Internal("the leader's answer contradicts itself");
  }
  PartitionOffsets offsets{.log_start = Offset(reply.log_start_offset()),
                           .high_watermark = Offset(reply.high_watermark()),
                           .last_stable = LastStable(reply),
                           .leader_epoch = LeaderEpochFrom(reply.leader_epoch()),
                           .timestamp_offset = std::nullopt,
                           .found = std::nullopt};
  if (!reply.has_timestamp_offset()) return offsets;
  offsets.timestamp_offset = Offset(reply.timestamp_offset());
  if (reply.has_found_timestamp_ms()) {
    offsets.found = FoundTime{.offset = *offsets.timestamp_offset,
                              .timestamp_ms = reply.found_timestamp_ms(),
                              .leader_epoch = LeaderEpochFrom(reply.found_leader_epoch())};
  }
  return offsets;
}

}  // namespace millrace::broker

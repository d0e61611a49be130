// What a Consume stream tells its client, as messages: those that are to be acknowledged have
// numbers, and are kept in mind until the client is done with them; and how much of it all the
// transport took.
//
// Owned by the stream's handler, on the shard's thread.
//
//   ConsumeMessages messages(stream, memory.sessions, window_bytes);
//   messages.TellAssigned({held});
//   messages.TellRecords(held, std::move(sent));
//   RETURN_IF_ERROR(messages.sent().Done(up_to));
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/api/client_memory.h"
#include "broker/api/stream.h"
#include "broker/service/consume/held_partitions.h"
#include "broker/service/consume/sent_messages.h"
#include "broker/service/fetch/partition_reader.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/bytes.h"

namespace millrace::broker {

class ConsumeMessages {
 public:
  // `memory`, of which what is kept in mind is taken, outlives this.
  ConsumeMessages(std::shared_ptr<Stream> stream, MemoryBudget& memory, uint64_t window_bytes)
      : stream_(std::move(stream)), memory_budget_(&memory), sent_(window_bytes) {}
  ConsumeMessages(const ConsumeMessages&) = delete;
  ConsumeMessages& operator=(const ConsumeMessages&) = delete;

  // A CountMemory follows what the client is done with.
  SentMessages& sent() { return sent_; }
  void CountMemory();

  void TellJoined(const std::string& member_id, uint32_t interval_ms);
  void TellResult(v1::CommitResult result);
  // With numbers. Pre: those that are assigned have a start, and their readings have begun.
  void TellAssigned(const std::vector<HeldPartition>& partitions);
  void TellRevoked(const std::vector<HeldPartition>& partitions);
  void TellLost(const std::vector<HeldPartition>& partitions);
  void TellRecords(const HeldPartition& held, PartitionReader::Sent records);
  // So that the client has something to be done with.
  void TellNothing() { WriteNumbered({}, {}); }

  // How many of the bytes that were written the transport took.
  uint64_t taken() const { return written_ - std::min(written_, stream_->pending_bytes()); }
  // Whether it took the last change of partitions.
  bool is_change_taken() const { return taken() >= change_end_; }

 private:
  using ToldPartitions = google::protobuf::RepeatedPtrField<v1::ConsumedPartition>;
  // The field of a message that tells of partitions.
  using ToldField = ToldPartitions* (v1::ConsumeResponse::*)();

  void TellOf(ToldField field, const std::vector<HeldPartition>& partitions);
  void WriteNumbered(v1::ConsumeResponse response, const std::vector<SentMessages::ReadTo>& read,
                     Bytes records = {});
  void Write(std::vector<Bytes> pieces);

  const std::shared_ptr<Stream> stream_;
  MemoryBudget* memory_budget_;
  SentMessages sent_;
  MemoryHold memory_;
  uint64_t written_ = 0;
  uint64_t change_end_ = 0;  // so many were written when it told of the last change
};

}  // namespace millrace::broker

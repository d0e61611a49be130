#include "broker/service/consume/consume_messages.h"

#include <utility>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

// What is read for a Consume stream is passed on as it was made for a Subscribe call.
static_assert(int{v1::ConsumeResponse::kRecordsFieldNumber} ==
              int{v1::SubscribeResponse::kRecordsFieldNumber});

// Of which one message tells.
constexpr size_t kToldPartitionsMax = 1'000;
// Memory for what was sent is counted in steps of so many entries.
constexpr size_t kEntriesStep = 256;

void Tell(const HeldPartition& held, v1::ConsumedPartition* told) {
  told->set_topic(held.topic);
  told->set_topic_id(held.partition.topic.value());
  told->set_partition(held.partition.partition.value());
  told->set_fencing_token(held.fencing_token);
  if (held.start.has_value()) told->set_offset(held.start->value());
}

}  // namespace

void ConsumeMessages::CountMemory() {
  const size_t steps = (sent_.entry_count() + kEntriesStep - 1) / kEntriesStep;
  const uint64_t bytes = steps * kEntriesStep * SentMessages::kEntryBytes;
  if (bytes != memory_.bytes()) memory_ = MemoryHold(*memory_budget_, bytes);
}

void ConsumeMessages::TellJoined(const std::string& member_id, uint32_t interval_ms) {
  v1::ConsumeResponse response;
  response.mutable_joined()->set_member_id(member_id);
  response.mutable_joined()->set_interval_ms(interval_ms);
  Write({Bytes::Own(response.SerializeAsString())});
}

void ConsumeMessages::TellResult(v1::CommitResult result) {
  v1::ConsumeResponse response;
  *response.mutable_commit() = std::move(result);
  Write({Bytes::Own(response.SerializeAsString())});
}

void ConsumeMessages::TellAssigned(const std::vector<HeldPartition>& partitions) {
  TellOf(&v1::ConsumeResponse::mutable_assigned, partitions);
}

void ConsumeMessages::TellRevoked(const std::vector<HeldPartition>& partitions) {
  TellOf(&v1::ConsumeResponse::mutable_revoked, partitions);
}

void ConsumeMessages::TellLost(const std::vector<HeldPartition>& partitions) {
  TellOf(&v1::ConsumeResponse::mutable_lost, partitions);
}

void ConsumeMessages::TellRecords(const HeldPartition& held, PartitionReader::Sent records) {
  v1::ConsumeResponse response;
  response.set_topic(held.topic);
  response.set_topic_id(held.partition.topic.value());
  response.set_fencing_token(held.fencing_token);
  WriteNumbered(
      std::move(response),
      {{.reading = held.reading, .end = records.end, .leader_epoch = records.leader_epoch}},
      std::move(records.message));
}

void ConsumeMessages::TellOf(ToldField field, const std::vector<HeldPartition>& partitions) {
  const ToldField assigned = &v1::ConsumeResponse::mutable_assigned;
  for (size_t first = 0; first < partitions.size(); first += kToldPartitionsMax) {
    v1::ConsumeResponse response;
    std::vector<SentMessages::ReadTo> read;
    const size_t end = std::min(partitions.size(), first + kToldPartitionsMax);
    for (size_t i = first; i < end; ++i) {
      const HeldPartition& held = partitions[i];
      Tell(held, (response.*field)()->Add());
      if (field != assigned || held.committed == held.start->value()) continue;
      // Or the next owner would begin elsewhere, where nothing is read meanwhile.
      read.push_back({.reading = held.reading, .end = *held.start, .leader_epoch = {}});
    }
    WriteNumbered(std::move(response), read);
    change_end_ = written_;
  }
}

void ConsumeMessages::WriteNumbered(v1::ConsumeResponse response,
                                    const std::vector<SentMessages::ReadTo>& read, Bytes records) {
  response.set_number(sent_.next_number());
  Bytes head = Bytes::Own(response.SerializeAsString());
  sent_.Add(head.size() + records.size(), read);
  CountMemory();
  std::vector<Bytes> pieces{std::move(head)};
  if (records.size() > 0) pieces.push_back(std::move(records));
  Write(std::move(pieces));
}

void ConsumeMessages::Write(std::vector<Bytes> pieces) {
  for (const Bytes& piece : pieces) written_ += piece.size();
  stream_->Write(std::move(pieces));
}

}  // namespace millrace::broker

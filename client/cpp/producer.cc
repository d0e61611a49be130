#include "client/cpp/producer.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/record/wire.h"

namespace millrace::client {
namespace {

// A live batch whose sequence the broker finds too high, so many times in a row, has lost its
// predecessor.
constexpr uint32_t kSequenceGapFailuresMax = 5;

// ProduceRequest.batches with everything of ProduceBatch but the batch's own bytes.
Bytes MessagePrefix(const TopicPartition& to, uint64_t batch_id, size_t batch_size) {
  constexpr unsigned kBatches = 2;
  constexpr unsigned kBatch = 15;
  char inner[48];
  WireWriter head(inner);
  head.Number(2, to.topic.value());
  head.Number(3, to.partition.value());
  head.Number(4, batch_id);
  head.Byte(WireTag(kBatch, WireType::kLengthDelimited));
  head.Varint(batch_size);
  const auto inner_size = static_cast<size_t>(head.position() - inner);
  char outer[64];
  WireWriter out(outer);
  out.Byte(WireTag(kBatches, WireType::kLengthDelimited));
  out.Varint(inner_size + batch_size);
  out.Raw({inner, inner_size});
  return Bytes::CopyOf({outer, static_cast<size_t>(out.position() - outer)});
}

}  // namespace

Producer::Producer(const ProducerOptions& options, const ProducerIdentity& identity, Random random)
    : options_(options),
      random_(random),
      identity_(identity),
      inflight_batches_max_(options.inflight_batches_max) {
  if (identity.inflight_batches_max != 0) {
    inflight_batches_max_ = std::min(inflight_batches_max_, identity.inflight_batches_max);
  }
  CHECK_GT(inflight_batches_max_, 0u);
}

uint32_t Producer::AddPartition(const TopicPartition& partition) {
  partitions_.emplace_back().name = partition;
  return static_cast<uint32_t>(partitions_.size() - 1);
}

Status Producer::Send(uint32_t handle, const NewRecord& record, MonotonicTime now) {
  CHECK_LT(handle, partitions_.size());
  Partition& partition = partitions_[handle];
  if (!partition.error.ok()) return partition.error;
  const size_t size = EncodedRecordSize(record);
  if (size > options_.record_bytes_max) {
    return InvalidArgument("record of " + std::to_string(size) + " bytes is larger than " +
                               std::to_string(options_.record_bytes_max),
                           Reason::kBatchTooLarge);
  }
  if (!HasRoom(size) && unanswered_records_ > 0) {
    return ResourceExhausted("the producer's memory is full of unanswered records");
  }
  if (partition.open && !partition.open->TryAppend(record)) {
    Seal(&partition);
  }
  if (!partition.open || partition.open->empty()) {
    partition.open.emplace(
        RecordBatchBuilder::Options{.records_bytes_max = options_.batch_bytes_max,
                                    .initial_bytes = partition.bytes_hint,
                                    .encoding = options_.encoding});
    partition.opened_at = now;
    CHECK(partition.open->TryAppend(record));
  }
  unanswered_bytes_ += size;
  ++unanswered_records_;
  return {};
}

void Producer::Seal(Partition* partition) {
  RecordBatchBuilder& open = *partition->open;
  Batch& batch = partition->batches.emplace_back();
  batch.record_count = open.record_count();
  batch.records_bytes = open.records_bytes();
  batch.created_at = partition->opened_at;
  partition->bytes_hint = batch.records_bytes + RecordBatchBuilder::kHeaderBytesMax;
  batch.bytes = std::move(open).Finish({.producer_id = identity_.id,
                                        .producer_epoch = identity_.epoch,
                                        .first_sequence = partition->next_sequence,
                                        .destination = partition->name});
  partition->open.reset();
  partition->next_sequence =
      (partition->next_sequence + batch.record_count) % kRecordSequenceModulus;
}

bool Producer::CanTransmit(const Partition& partition, MonotonicTime now) const {
  if (partition.leader.broker == BrokerId() || now < partition.retry_at) return false;
  if (partition.in_flight >= inflight_batches_max_) return false;
  auto broker = brokers_.find(partition.leader.broker);
  if (broker == brokers_.end() || broker->second.inflight_bytes == 0) return true;
  const uint64_t limit = broker->second.inflight_bytes_max;
  return broker->second.inflight_bytes + options_.batch_bytes_max <= limit;
}

// Whether the records collected so far should wait no longer.
bool Producer::IsDue(const Partition& partition, MonotonicTime now) const {
  return is_flushing_ || partition.in_flight == 0 || now - partition.opened_at >= options_.linger;
}

bool Producer::TransmitOne(uint32_t handle, MonotonicTime now, ProducerOutput* output) {
  Partition& partition = partitions_[handle];
  if (!CanTransmit(partition, now)) return false;
  if (partition.in_flight == partition.batches.size()) {
    if (!partition.open || !IsDue(partition, now)) return false;
    Seal(&partition);
  }
  Transmit(handle, &partition.batches[partition.in_flight], output);
  ++partition.in_flight;
  return true;
}

void Producer::Transmit(uint32_t handle, Batch* batch, ProducerOutput* output) {
  const Partition& partition = partitions_[handle];
  const BrokerId to = partition.leader.broker;
  batch->attempt = next_attempt_++;
  attempts_[batch->attempt] = {.broker = to, .bytes = batch->bytes.size(), .partition = handle};
  auto [found, is_new] = brokers_.try_emplace(to);
  Broker& broker = found->second;
  if (is_new) broker.inflight_bytes_max = options_.inflight_bytes_max;
  broker.inflight_bytes += batch->bytes.size();
  if (broker.pieces_bytes + batch->bytes.size() > options_.message_bytes_max) {
    FlushMessage(to, &broker, output);
  }
  broker.pieces.push_back(MessagePrefix(partition.name, batch->attempt, batch->bytes.size()));
  broker.pieces.push_back(batch->bytes);
  broker.pieces_bytes += batch->bytes.size();
}

void Producer::FlushMessage(BrokerId to, Broker* broker, ProducerOutput* output) {
  if (broker->pieces.empty()) return;
  output->messages.push_back({.to = to, .pieces = std::move(broker->pieces)});
  broker->pieces.clear();
  broker->pieces_bytes = 0;
}

void Producer::OnLeader(uint32_t handle, const LeaderInfo& leader) {
  Partition& partition = partitions_[handle];
  if (leader.broker == BrokerId() || leader.epoch < partition.leader.epoch) return;
  if (leader.broker != partition.leader.broker) {
    // What is in flight elsewhere is sent again: the sequences tell the new leader what it has
    // already.
    Rewind(&partition);
    // At once, but not if brokers that name each other in one epoch would have us run in circles.
    if (leader.epoch > partition.leader.epoch) partition.retry_at = {};
  }
  partition.leader = leader;
}

void Producer::OnStreamInit(BrokerId broker, uint64_t inflight_bytes_max) {
  uint64_t limit = options_.inflight_bytes_max;
  if (inflight_bytes_max != 0) limit = std::min(limit, inflight_bytes_max);
  brokers_[broker].inflight_bytes_max = limit;
}

void Producer::Rewind(Partition* partition) {
  for (size_t i = 0; i < partition->in_flight; ++i) {
    Batch& batch = partition->batches[i];
    auto attempt = attempts_.find(batch.attempt);
    if (attempt != attempts_.end()) attempt->second.partition.reset();
    batch.attempt = 0;
  }
  partition->in_flight = 0;
}

void Producer::OnResult(BrokerId broker, const v1::ProduceResult& result, MonotonicTime now) {
  auto found = attempts_.find(result.batch_id());
  if (found == attempts_.end() || found->second.broker != broker) return;
  const Attempt attempt = found->second;
  attempts_.erase(found);
  brokers_[broker].inflight_bytes -= attempt.bytes;
  if (!attempt.partition) return;
  Partition& partition = partitions_[*attempt.partition];
  CHECK_GT(partition.in_flight, 0u);
  if (partition.batches.front().attempt != result.batch_id()) {
    // Results come in order per partition; a broker that skips one is asked for all again.
    return OnFailure(*attempt.partition, Unavailable("results came out of order"), now);
  }
  const Status error = result.has_error() ? FromError(result.error()) : Status::Ok();
  if (error.ok() || error.reason() == Reason::kDuplicateSequence) {
    partition.failures = 0;
    partition.last_failure = Status::Ok();
    --partition.in_flight;
    return Answer(&partition, Status::Ok(), Offset(error.ok() ? result.base_offset() : -1));
  }
  OnFailure(*attempt.partition, error, now);
}

bool Producer::IsRetriable(const Partition& partition, const Status& error,
                           MonotonicTime now) const {
  if (error.reason() == Reason::kSequenceGap) {
    return partition.failures <= kSequenceGapFailuresMax;
  }
  switch (error.code()) {
    case Code::kUnavailable:
    case Code::kResourceExhausted:
    case Code::kDeadlineExceeded:
    case Code::kCancelled:
      return true;
    case Code::kNotFound:
      return error.reason() != Reason::kTopicDeleted &&
             now - partition.batches.front().created_at < options_.unknown_topic_grace;
    case Code::kOk:
    case Code::kUnknown:
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:
    case Code::kPermissionDenied:
    case Code::kFailedPrecondition:
    case Code::kAborted:
    case Code::kOutOfRange:
    case Code::kUnimplemented:
    case Code::kInternal:
    case Code::kDataLoss:
    case Code::kUnauthenticated:
      return false;
  }
  return false;
}

void Producer::OnFailure(uint32_t handle, const Status& error, MonotonicTime now) {
  Partition& partition = partitions_[handle];
  ++partition.failures;
  if (!IsRetriable(partition, error, now)) return End(&partition, error);
  partition.last_failure = error;
  Rewind(&partition);
  partition.retry_at = now + BackoffDelay(options_.backoff, partition.failures, random_);
  if (error.retry_after_ms()) {
    partition.retry_at =
        std::max(partition.retry_at, now + std::chrono::milliseconds(*error.retry_after_ms()));
  }
  const std::optional<LeaderHint> hint = LeaderHintOf(error);
  if (hint) OnLeader(handle, {.broker = hint->broker, .epoch = hint->epoch});
}

void Producer::OnStreamClosed(BrokerId broker, MonotonicTime now) {
  brokers_.erase(broker);
  std::vector<uint32_t> interrupted;
  for (auto attempt = attempts_.begin(); attempt != attempts_.end();) {
    if (attempt->second.broker != broker) {
      ++attempt;
      continue;
    }
    if (attempt->second.partition) interrupted.push_back(*attempt->second.partition);
    attempt = attempts_.erase(attempt);
  }
  std::sort(interrupted.begin(), interrupted.end());
  interrupted.erase(std::unique(interrupted.begin(), interrupted.end()), interrupted.end());
  for (uint32_t handle : interrupted) {
    OnFailure(handle, Unavailable("the stream to the broker ended"), now);
  }
}

void Producer::FailAll(const Status& status) {
  for (Partition& partition : partitions_) {
    if (partition.error.ok()) End(&partition, status);
  }
}

void Producer::End(Partition* partition, const Status& error) {
  CHECK(!error.ok());
  Rewind(partition);
  partition->error = error;
  if (partition->open) Seal(partition);
  while (!partition->batches.empty()) Answer(partition, error, Offset(-1));
}

// Reports the oldest batch and forgets it.
void Producer::Answer(Partition* partition, Status status, Offset base_offset) {
  const Batch& batch = partition->batches.front();
  reports_.push_back({.partition = partition->name,
                      .status = std::move(status),
                      .base_offset = base_offset,
                      .record_count = batch.record_count,
                      .bytes = batch.records_bytes});
  unanswered_records_ -= batch.record_count;
  unanswered_bytes_ -= batch.records_bytes;
  partition->batches.pop_front();
}

void Producer::Expire(Partition* partition, MonotonicTime now) {
  if (partition->batches.empty() && !partition->open) return;
  const MonotonicTime oldest =
      partition->batches.empty() ? partition->opened_at : partition->batches.front().created_at;
  if (now - oldest < options_.delivery_timeout) return;
  std::string message =
      "no answer within the delivery timeout; whether the records are stored is not known";
  // Without it nobody could tell a full disk from a lost majority.
  if (!partition->last_failure.ok()) {
    message += "; the last attempt ended with " + partition->last_failure.ToString();
  }
  End(partition, DeadlineExceeded(std::move(message)));
}

void Producer::PlanWake(const Partition& partition, MonotonicTime now,
                        ProducerOutput* output) const {
  if (partition.batches.empty() && !partition.open) return;
  const MonotonicTime oldest =
      partition.batches.empty() ? partition.opened_at : partition.batches.front().created_at;
  MonotonicTime at = oldest + options_.delivery_timeout;
  if (partition.retry_at > now) at = std::min(at, partition.retry_at);
  const MonotonicTime lingered = partition.opened_at + options_.linger;
  if (partition.open && lingered > now) at = std::min(at, lingered);
  output->wake_at = output->wake_at ? std::min(*output->wake_at, at) : at;
}

void Producer::Poll(MonotonicTime now, ProducerOutput* output) {
  output->wake_at.reset();
  output->wants_metadata = false;
  for (Partition& partition : partitions_) Expire(&partition, now);
  const auto count = static_cast<uint32_t>(partitions_.size());
  for (bool has_progress = count > 0; has_progress;) {
    has_progress = false;
    for (uint32_t i = 0; i < count; ++i) {
      has_progress |= TransmitOne((first_served_ + i) % count, now, output);
    }
  }
  if (count > 0) first_served_ = (first_served_ + 1) % count;
  for (auto& [id, broker] : brokers_) FlushMessage(id, &broker, output);
  for (const Partition& partition : partitions_) {
    const bool has_work = !partition.batches.empty() || partition.open;
    if (has_work && (partition.leader.broker == BrokerId() || partition.failures > 0)) {
      output->wants_metadata = true;
    }
    PlanWake(partition, now, output);
  }
  if (unanswered_records_ == 0) is_flushing_ = false;
  for (DeliveryReport& report : reports_) output->reports.push_back(std::move(report));
  reports_.clear();
}

void Producer::CheckInvariants() const {
  uint64_t records = 0;
  size_t bytes = 0;
  for (const Partition& partition : partitions_) {
    CHECK_LE(partition.in_flight, partition.batches.size());
    for (size_t i = 0; i < partition.batches.size(); ++i) {
      const Batch& batch = partition.batches[i];
      CHECK_EQ(batch.attempt != 0, i < partition.in_flight);
      records += batch.record_count;
      bytes += batch.records_bytes;
    }
    if (partition.open) {
      records += partition.open->record_count();
      bytes += partition.open->records_bytes();
    }
  }
  CHECK_EQ(records, unanswered_records_);
  CHECK_EQ(bytes, unanswered_bytes_);
  std::map<BrokerId, uint64_t> inflight;
  for (const auto& [id, attempt] : attempts_) inflight[attempt.broker] += attempt.bytes;
  for (const auto& [id, broker] : brokers_) CHECK_EQ(broker.inflight_bytes, inflight[id]);
}

}  // namespace millrace::client

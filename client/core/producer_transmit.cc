// The producer's sending half: which partition may send what now, and when to look again.
#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "client/core/producer.h"
#include "proto/record/wire.h"

namespace millrace::client {
namespace {

struct Envelope {
  uint64_t batch_id = 0;
  bool is_repeated = false;
  std::optional<Offset> expected_end;
  size_t batch_size = 0;
};

// ProduceRequest.batches with everything of ProduceBatch but the batch's own bytes.
Bytes MessagePrefix(const TopicPartition& to, const Envelope& envelope) {
  constexpr unsigned kBatches = 2;
  constexpr unsigned kExpectedEnd = 5;
  constexpr unsigned kBatch = 15;
  char inner[64];
  WireWriter head(inner);
  head.Number(2, to.topic.value());
  head.Number(3, to.partition.value());
  head.Number(4, envelope.batch_id);
  if (envelope.expected_end.has_value()) {  // 0 is one, too
    head.Byte(WireTag(kExpectedEnd, WireType::kVarint));
    head.Varint(static_cast<uint64_t>(envelope.expected_end->value()));
  }
  head.Number(6, envelope.is_repeated ? 1 : 0);
  head.Byte(WireTag(kBatch, WireType::kLengthDelimited));
  head.Varint(envelope.batch_size);
  const auto inner_size = static_cast<size_t>(head.position() - inner);
  char outer[80];
  WireWriter out(outer);
  out.Byte(WireTag(kBatches, WireType::kLengthDelimited));
  out.Varint(inner_size + envelope.batch_size);
  out.Raw({inner, inner_size});
  return Bytes::CopyOf({outer, static_cast<size_t>(out.position() - outer)});
}

}  // namespace

Producer::Broker& Producer::BrokerOf(BrokerId id) {
  auto [found, is_new] = brokers_.try_emplace(id);
  if (is_new) found->second.inflight_bytes_max = tuning_.inflight_bytes_max;
  return found->second;
}

void Producer::MarkReady(uint32_t handle) {
  if (std::exchange(partitions_[handle].is_ready, true)) return;
  ready_.push_back(handle);
}

void Producer::Unblock(Broker* broker) {
  for (const uint32_t handle : broker->blocked) {
    partitions_[handle].is_blocked = false;
    MarkReady(handle);
  }
  broker->blocked.clear();
}

// What the partition's next batch may take of a window.
size_t Producer::NextBytes(const Partition& partition) const {
  const bool is_sealed = partition.in_flight < partition.batches.size();
  const size_t size = is_sealed        ? partition.batches[partition.in_flight].bytes.size()
                      : partition.open ? partition.open->records_bytes()
                                       : 0;
  return std::max(size, tuning_.batch_bytes);
}

bool Producer::CanTransmit(uint32_t handle, MonotonicTime now) {
  Partition& partition = partitions_[handle];
  if (partition.leader.broker == BrokerId() || partition.needs_epoch) return false;
  if (now < partition.retry.at() || partition.in_flight >= inflight_batches_max_) return false;
  Broker& broker = BrokerOf(partition.leader.broker);
  if (now < broker.retry.at()) return false;
  const bool fits = broker.inflight_bytes == 0 ||
                    broker.inflight_bytes + NextBytes(partition) <= broker.inflight_bytes_max;
  if (!fits && !std::exchange(partition.is_blocked, true)) broker.blocked.push_back(handle);
  return fits;
}

// Whether the records collected so far should wait no longer.
bool Producer::IsDue(const Partition& partition, MonotonicTime now) const {
  return partition.in_flight == 0 || partition.opened_at <= flushed_until_ ||
         now - partition.opened_at >= tuning_.linger;
}

bool Producer::TransmitOne(uint32_t handle, MonotonicTime now, ProducerOutput* output) {
  Partition& partition = partitions_[handle];
  const bool is_sealed = partition.in_flight < partition.batches.size();
  if (!is_sealed && (!partition.open || !IsDue(partition, now))) return false;
  if (has_transactions() && !MaySendNext(partition)) return false;
  if (!CanTransmit(handle, now)) return false;
  if (!is_sealed) Seal(&partition);
  Transmit(handle, &partition.batches[partition.in_flight], output);
  ++partition.in_flight;
  return true;
}

void Producer::Transmit(uint32_t handle, Batch* batch, ProducerOutput* output) {
  const Partition& partition = partitions_[handle];
  const BrokerId to = partition.leader.broker;
  batch->attempt = next_attempt_++;
  batch->was_sent = true;
  attempts_[batch->attempt] = {.broker = to, .bytes = batch->bytes.size(), .partition = handle};
  Broker& broker = BrokerOf(to);
  broker.inflight_bytes += batch->bytes.size();
  if (broker.pieces_bytes + batch->bytes.size() > tuning_.message_bytes_max) {
    FlushMessage(to, &broker, output);
  }
  broker.pieces.push_back(MessagePrefix(partition.name, {.batch_id = batch->attempt,
                                                         .is_repeated = batch->is_in_doubt,
                                                         .expected_end = batch->expected_end,
                                                         .batch_size = batch->bytes.size()}));
  broker.pieces.push_back(batch->bytes);
  broker.pieces_bytes += batch->bytes.size();
}

void Producer::FlushMessage(BrokerId to, Broker* broker, ProducerOutput* output) {
  if (broker->pieces.empty()) return;
  output->messages.push_back({.to = to, .pieces = std::move(broker->pieces)});
  broker->pieces.clear();
  broker->pieces_bytes = 0;
}

void Producer::Expire(Partition* partition, MonotonicTime now) {
  if (partition->batches.empty() && !partition->open) return;
  const MonotonicTime oldest =
      partition->batches.empty() ? partition->opened_at : partition->batches.front().created_at;
  if (now - oldest < tuning_.delivery_timeout) return;
  std::string message = "no answer within the delivery timeout";
  // Without it nobody could tell a full disk from a lost majority.
  const Status& last = partition->retry.last_error();
  if (!last.ok()) message += "; the last attempt ended with " + last.ToString();
  Fail(partition, DeadlineExceeded(std::move(message)), Cause::kOther);
}

std::optional<MonotonicTime> Producer::WakeTime(const Partition& partition,
                                                MonotonicTime now) const {
  if (partition.batches.empty() && !partition.open) return std::nullopt;
  const MonotonicTime oldest =
      partition.batches.empty() ? partition.opened_at : partition.batches.front().created_at;
  MonotonicTime sends_at = partition.retry.at();
  auto broker = brokers_.find(partition.leader.broker);
  if (broker != brokers_.end()) sends_at = std::max(sends_at, broker->second.retry.at());
  const bool lingers = partition.in_flight == partition.batches.size() && partition.in_flight > 0;
  if (lingers) sends_at = std::max(sends_at, partition.opened_at + tuning_.linger);
  const MonotonicTime expires_at = oldest + tuning_.delivery_timeout;
  return sends_at > now ? std::min(sends_at, expires_at) : expires_at;
}

// Brings what is kept about the partition as a whole up to date.
void Producer::Settle(uint32_t handle, MonotonicTime now) {
  Partition& partition = partitions_[handle];
  const std::optional<MonotonicTime> timer = WakeTime(partition, now);
  if (timer != partition.timer) {
    if (partition.timer) timers_.erase({*partition.timer, handle});
    if (timer) timers_.emplace(*timer, handle);
    partition.timer = timer;
  }
  const bool has_work = !partition.batches.empty() || partition.open;
  const bool is_troubled =
      has_work && (partition.leader.broker == BrokerId() || partition.retry.failures() > 0);
  if (is_troubled && !partition.is_troubled) ++troubled_count_;
  if (!is_troubled && partition.is_troubled) --troubled_count_;
  partition.is_troubled = is_troubled;
}

// One batch of the partition, if it may; then it is the others' turn.
void Producer::Serve(uint32_t handle, MonotonicTime now, ProducerOutput* output) {
  Partition& partition = partitions_[handle];
  partition.is_ready = false;
  if (has_transactions()) AnswerFailed(&partition);
  Expire(&partition, now);
  // Another partition's failure may have brought the epoch that this one waits for.
  if (partition.needs_epoch && !HasNewestEpoch(partition)) TakeNewEpoch(&partition);
  if (TransmitOne(handle, now, output)) return MarkReady(handle);
  Settle(handle, now);
}

std::vector<BrokerId> Producer::Awaited() const {
  std::vector<BrokerId> awaited;
  for (const auto& [id, broker] : brokers_) {
    if (broker.inflight_bytes > 0) awaited.push_back(id);
  }
  return awaited;
}

std::optional<TopicPartition> Producer::Leaderless() const {
  if (troubled_count_ == 0) return std::nullopt;
  for (const Partition& partition : partitions_) {
    if (partition.is_troubled && partition.leader.broker == BrokerId()) return partition.name;
  }
  return std::nullopt;
}

void Producer::Poll(MonotonicTime now, ProducerOutput* output) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    const uint32_t handle = timers_.begin()->second;
    timers_.erase(timers_.begin());
    partitions_[handle].timer.reset();
    MarkReady(handle);
  }
  while (!ready_.empty()) {
    const uint32_t handle = ready_.front();
    ready_.pop_front();
    Serve(handle, now, output);
  }
  for (auto& [id, broker] : brokers_) FlushMessage(id, &broker, output);
  output->wants_metadata = troubled_count_ > 0;
  output->wants_epoch_after.reset();
  if (epoch_waiters_ > 0) output->wants_epoch_after = identity_.epoch;
  if (has_transactions()) {
    output->wants_of_transactions = transactions_->Wanted();
    for (Status& outcome : transactions_->TakeOutcomes()) {
      output->outcomes.push_back(std::move(outcome));
    }
  }
  output->trouble = std::exchange(trouble_, std::nullopt);
  output->wake_at.reset();
  if (!timers_.empty()) output->wake_at = timers_.begin()->first;
  for (DeliveryReport& report : reports_) output->reports.push_back(std::move(report));
  reports_.clear();
}

void Producer::CheckInvariants() const {
  uint64_t records = 0;
  size_t bytes = 0;
  uint32_t epoch_waiters = 0;
  for (const Partition& partition : partitions_) {
    CHECK_LE(partition.in_flight, partition.batches.size());
    epoch_waiters += partition.needs_epoch ? 1 : 0;
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
    const bool has_work = !partition.batches.empty() || partition.open;
    // Work that nobody looks at would wait for ever.
    CHECK(!has_work || partition.is_ready || partition.timer) << partition.name.partition;
  }
  CHECK_EQ(records, unanswered_records_);
  if (has_transactions()) CHECK_EQ(records, transactions_->unanswered_records());
  CHECK_EQ(bytes, unanswered_bytes_);
  CHECK_EQ(epoch_waiters, epoch_waiters_);
  std::map<BrokerId, uint64_t> inflight;
  for (const auto& [id, attempt] : attempts_) inflight[attempt.broker] += attempt.bytes;
  for (const auto& [id, broker] : brokers_) CHECK_EQ(broker.inflight_bytes, inflight[id]);
}

}  // namespace millrace::client

#include "client/core/producer.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "client/core/error.h"
#include "client/core/split_batch.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"
#include "proto/record/batch_header.h"
#include "proto/record/wire.h"

namespace millrace::client {
namespace {

// A live batch whose sequence the broker finds too high, so many times in a row, has lost its
// predecessor.
constexpr uint32_t kSequenceGapFailuresMax = 5;

// Whether no new epoch would help the partition.
bool IsFinal(const Status& error) {
  return error.code() == Code::kNotFound || error.code() == Code::kPermissionDenied ||
         error.code() == Code::kUnauthenticated || error.reason() == Reason::kProducerFenced;
}

// The batch with the header that `view` says.
Bytes WithHeader(const RecordBatchView& view) {
  Buffer buffer = Buffer::Allocate(BatchHeaderSize(view) + view.records.size());
  WireWriter out(buffer.data());
  WriteBatchHeader(view, &out);
  out.Raw(view.records);
  CHECK_EQ(out.position(), buffer.data() + buffer.size());
  return std::move(buffer).Freeze();
}

}  // namespace

// Whether the attempt that a broker answered with `error` certainly stored nothing: these are said
// before anything is appended.
bool Producer::IsRefusal(const Status& error) {
  return error.code() == Code::kResourceExhausted || error.code() == Code::kInvalidArgument ||
         error.code() == Code::kFailedPrecondition || error.code() == Code::kOutOfRange ||
         error.code() == Code::kPermissionDenied || error.code() == Code::kUnauthenticated ||
         error.reason() == Reason::kProducerFenced || error.reason() == Reason::kUnknownProducer ||
         error.reason() == Reason::kTransactionFenced ||
         error.reason() == Reason::kTransactionEnded;
}

Producer::Producer(const ProducerTuning& tuning, const ProducerIdentity& identity, Random random)
    : tuning_(tuning),
      random_(random),
      identity_(identity),
      inflight_batches_max_(tuning.inflight_batches_max) {
  if (identity.inflight_batches_max != 0) {
    inflight_batches_max_ = std::min(inflight_batches_max_, identity.inflight_batches_max);
  }
  CHECK_GT(inflight_batches_max_, 0u);
  if (!tuning.transactional_id.empty()) transactions_.emplace();
}

uint32_t Producer::AddPartition(const TopicPartition& partition) {
  Partition& added = partitions_.emplace_back();
  added.name = partition;
  added.producer_id = identity_.id;
  added.epoch = identity_.epoch;
  return static_cast<uint32_t>(partitions_.size() - 1);
}

Status Producer::Send(uint32_t handle, const NewRecord& record, MonotonicTime now,
                      std::optional<Offset> expected_end) {
  CHECK_LT(handle, partitions_.size());
  Partition& partition = partitions_[handle];
  if (!partition.error.ok()) return partition.error;
  if (has_transactions()) RETURN_IF_ERROR(transactions_->CheckSend());
  const size_t size = EncodedRecordSize(record);
  if (size > record_bytes_max()) {
    return InvalidArgument("the record takes " + std::to_string(size) +
                               " bytes, and the topic's batches " +
                               std::to_string(record_bytes_max()),
                           Reason::kBatchTooLarge);
  }
  if (!HasRoom(size) && unanswered_records_ > 0) {
    return ResourceExhausted("the producer's memory is full of unanswered records");
  }
  const uint64_t transaction = has_transactions() ? transactions_->current() : 0;
  if (partition.open && partition.open_transaction != transaction) Seal(&partition);
  const bool is_alone = expected_end.has_value();
  if (partition.open && (is_alone || !partition.open->TryAppend(record))) {
    Seal(&partition);
  }
  if (!partition.open || partition.open->empty()) {
    partition.open.emplace(RecordBatchBuilder::Options{
        .records_bytes_max = std::min(tuning_.batch_bytes, record_bytes_max()),
        .initial_bytes = partition.bytes_hint,
        .encoding = tuning_.encoding});
    partition.opened_at = now;
    partition.open_transaction = transaction;
    CHECK(partition.open->TryAppend(record));
  }
  if (is_alone) {
    Seal(&partition);
    partition.batches.back().expected_end = expected_end;
  }
  unanswered_bytes_ += size;
  ++unanswered_records_;
  if (has_transactions()) transactions_->Sent();
  MarkReady(handle);
  return {};
}

void Producer::Seal(Partition* partition) {
  RecordBatchBuilder& open = *partition->open;
  Batch& batch = partition->batches.emplace_back();
  batch.record_count = open.record_count();
  batch.records_bytes = open.records_bytes();
  batch.created_at = partition->opened_at;
  batch.transaction = partition->open_transaction;
  partition->bytes_hint = batch.records_bytes + RecordBatchBuilder::kHeaderBytesMax;
  batch.bytes = std::move(open).Finish({.producer_id = partition->producer_id,
                                        .producer_epoch = partition->epoch,
                                        .first_sequence = partition->next_sequence,
                                        .transaction_number = NumberOf(batch.transaction),
                                        .destination = partition->name,
                                        .compression = tuning_.compression});
  partition->open.reset();
  partition->next_sequence =
      (partition->next_sequence + batch.record_count) % kRecordSequenceModulus;
}

void Producer::Flush(MonotonicTime now) {
  flushed_until_ = now;
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    if (partitions_[handle].open) MarkReady(handle);
  }
}

void Producer::OnLeader(uint32_t handle, const LeaderInfo& leader) {
  Partition& partition = partitions_[handle];
  if (leader.broker == BrokerId() || leader.epoch < partition.leader.epoch) return;
  if (leader.broker != partition.leader.broker) {
    MILLRACE_SOMETIMES_IF("a producer sent again to a new leader", partition.in_flight > 0);
    // What is in flight elsewhere is sent again: the sequences tell the new leader what it has
    // already.
    Rewind(&partition, true);
    // At once, but not if brokers that name each other in one epoch would have us run in circles.
    if (leader.epoch > partition.leader.epoch) partition.retry.Hurry();
    MarkReady(handle);
  }
  partition.leader = leader;
}

// The records that wait get new sequences: none of them was ever stored under the old ones, or they
// were not sent yet.
void Producer::OnEpoch(ProducerId id, uint32_t epoch) {
  if (id != identity_.id || epoch > identity_.epoch) {
    identity_.id = id;
    identity_.epoch = epoch;
  }
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    Partition& partition = partitions_[handle];
    if (!partition.needs_epoch || HasNewestEpoch(partition)) continue;
    TakeNewEpoch(&partition);
    MarkReady(handle);
  }
}

void Producer::TakeNewEpoch(Partition* partition) {
  partition->needs_epoch = false;
  --epoch_waiters_;
  partition->producer_id = identity_.id;
  partition->epoch = identity_.epoch;
  Renumber(partition, 0);
}

void Producer::WaitForEpoch(Partition* partition) {
  CHECK(!has_transactions()) << "those have new epochs of their own";
  if (!std::exchange(partition->needs_epoch, true)) ++epoch_waiters_;
}

// Pre: nothing of the partition was ever sent under the sequences that it gets.
void Producer::Renumber(Partition* partition, uint32_t first_sequence) {
  CHECK_EQ(partition->in_flight, 0u);
  partition->next_sequence = first_sequence;
  for (Batch& batch : partition->batches) {
    CHECK(!batch.is_in_doubt);
    Result<RecordBatchView> view = ParseRecordBatchHeader(batch.bytes.view());
    CHECK(view.ok()) << "a batch of our own: " << view.status();
    view->producer_id = partition->producer_id;
    view->producer_epoch = partition->epoch;
    view->first_sequence = partition->next_sequence;
    view->transaction_number = NumberOf(batch.transaction);
    batch.bytes = WithHeader(*view);
    partition->next_sequence =
        (partition->next_sequence + batch.record_count) % kRecordSequenceModulus;
  }
}

void Producer::SetBatchLimit(size_t batch_bytes_max) {
  batch_limit_ = std::max(batch_bytes_max, kBatchLimitMin);
}

// Puts parts in the place of the oldest batch, which a broker found too large; false if it is one
// record. It was not stored, and what is in flight behind it is refused for the gap: all is sent
// again. If an earlier attempt did store it, there is no gap, and the sequences of its parts say
// so.
bool Producer::SplitOldest(Partition* partition, const Status& error) {
  for (const auto& [key, value] : error.metadata()) {
    size_t limit = 0;
    const auto [end, errc] = std::from_chars(value.data(), value.data() + value.size(), limit);
    if (key == "batch_bytes_max" && errc == std::errc() && *end == '\0') SetBatchLimit(limit);
  }
  const Batch whole = partition->batches.front();
  if (whole.record_count < 2) return false;
  Rewind(partition, whole.is_in_doubt);
  partition->batches.pop_front();
  std::vector<BatchPart> parts = SplitBatch(
      whole.bytes, {.destination = partition->name,
                    // Smaller than it was, whatever the broker says.
                    .records_bytes_max = std::min(record_bytes_max(), whole.records_bytes / 2),
                    .encoding = tuning_.encoding,
                    .compression = tuning_.compression});
  CHECK_GT(parts.size(), 1u);
  size_t records_bytes = 0;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    records_bytes += part->records_bytes;
    partition->batches.push_front({.bytes = std::move(part->bytes),
                                   .record_count = part->record_count,
                                   .records_bytes = part->records_bytes,
                                   .created_at = whole.created_at,
                                   .is_in_doubt = whole.is_in_doubt,
                                   .was_sent = true,
                                   .transaction = whole.transaction});
  }
  CHECK_EQ(records_bytes, whole.records_bytes);
  return true;
}

// The oldest batch is not stored, as its log does not end where it was to. False if an attempt that
// had no answer may be stored yet: the log has not come to that offset.
//
// Then none of those behind it was stored either: each would have had to follow it. The sequences
// are used again only if none of them was ever sent under one; else an attempt that is still on its
// way could come to be the next in sequence. Under a new epoch it never is.
bool Producer::RefuseMoved(Partition* partition, const Status& error) {
  const Batch& oldest = partition->batches.front();
  const std::optional<Offset> end = MovedEndOf(error);
  if (has_transactions()) return false;
  if (!oldest.expected_end.has_value() || !end.has_value()) return false;
  if (oldest.is_in_doubt && *end <= *oldest.expected_end) return false;
  const Result<RecordBatchView> view = ParseRecordBatchHeader(oldest.bytes.view());
  CHECK(view.ok()) << "a batch of our own: " << view.status();
  const uint32_t first_sequence = view->first_sequence;
  Rewind(partition, /*is_in_doubt=*/false);
  bool was_more_sent = false;
  for (size_t i = 0; i < partition->batches.size(); ++i) {
    Batch& batch = partition->batches[i];
    batch.is_in_doubt = false;
    was_more_sent |= i > 0 && batch.was_sent;
  }
  Answer(partition, error, Offset(-1), 0);
  const Status behind = error.With("a record that was to be stored before it was refused");
  while (!partition->batches.empty() && partition->batches.front().expected_end.has_value()) {
    Answer(partition, behind, Offset(-1), 0);
  }
  partition->retry.Clear();
  if (was_more_sent) {
    WaitForEpoch(partition);
  } else {
    Renumber(partition, first_sequence);
  }
  return true;
}

void Producer::OnStreamInit(BrokerId broker, uint64_t inflight_bytes_max) {
  uint64_t limit = tuning_.inflight_bytes_max;
  if (inflight_bytes_max != 0) limit = std::min(limit, inflight_bytes_max);
  Broker& found = BrokerOf(broker);
  found.inflight_bytes_max = limit;
  found.retry.Clear();
  Unblock(&found);
}

// Nothing of the partition is on its way any more; with `is_in_doubt`, without anyone knowing what
// became of it.
void Producer::Rewind(Partition* partition, bool is_in_doubt) {
  TakeBack(partition, 0, is_in_doubt);
}

// The same, from the `first` batch on.
void Producer::TakeBack(Partition* partition, size_t first, bool is_in_doubt) {
  for (size_t i = first; i < partition->in_flight; ++i) {
    Batch& batch = partition->batches[i];
    auto attempt = attempts_.find(batch.attempt);
    if (attempt != attempts_.end()) attempt->second.partition.reset();
    batch.attempt = 0;
    batch.is_in_doubt |= is_in_doubt;
  }
  partition->in_flight = std::min(partition->in_flight, first);
}

void Producer::OnResult(BrokerId broker, const v1::ProduceResult& result, MonotonicTime now) {
  auto found = attempts_.find(result.batch_id());
  if (found == attempts_.end() || found->second.broker != broker) return;
  const Attempt attempt = found->second;
  attempts_.erase(found);
  Broker& from = BrokerOf(broker);
  from.inflight_bytes -= attempt.bytes;
  Unblock(&from);
  if (!attempt.partition) return;
  Partition& partition = partitions_[*attempt.partition];
  MarkReady(*attempt.partition);
  CHECK_GT(partition.in_flight, 0u);
  if (partition.batches.front().attempt != result.batch_id()) {
    // Results come in order per partition; a broker that skips one is asked for all again.
    return OnFailure(*attempt.partition, Unavailable("results came out of order"), now);
  }
  const Status error = result.has_error() ? FromError(result.error()) : Status::Ok();
  if (error.ok() || error.reason() == Reason::kDuplicateSequence) {
    partition.retry.Clear();
    --partition.in_flight;
    return Answer(&partition, Status::Ok(), Offset(error.ok() ? result.base_offset() : -1),
                  result.append_time_ms());
  }
  if (error.reason() == Reason::kBatchTooLarge && SplitOldest(&partition, error)) return;
  if (error.reason() == Reason::kOffsetMoved && RefuseMoved(&partition, error)) return;
  OnFailure(*attempt.partition, error, now);
}

bool Producer::MayRetry(const Partition& partition, const Status& error, MonotonicTime now) const {
  if (error.reason() == Reason::kSequenceGap) {
    return partition.retry.failures() <= kSequenceGapFailuresMax;
  }
  if (error.reason() == Reason::kUnknownProducer) {
    if (has_transactions()) return false;
    // The brokers have forgotten the producer. What may be stored can't be sent under a new epoch:
    // it would be stored twice.
    return std::none_of(partition.batches.begin(), partition.batches.end(),
                        [](const Batch& batch) { return batch.is_in_doubt; });
  }
  return MayHeal(error, now - partition.retry.failing_since(), tuning_.unknown_topic_grace);
}

void Producer::OnFailure(uint32_t handle, const Status& error, MonotonicTime now) {
  if (has_transactions() && IsFencing(error)) return FailAll(error);
  Partition& partition = partitions_[handle];
  MarkReady(handle);
  partition.retry.Fail(error, now, tuning_.backoff, random_);
  if (!MayRetry(partition, error, now)) {
    // A transactional id that was forgotten is initialized again.
    const bool is_forgotten = has_transactions() && error.reason() == Reason::kUnknownProducer;
    return IsFinal(error) && !is_forgotten ? End(handle, error, Cause::kAnswer)
                                           : Fail(&partition, error, Cause::kAnswer);
  }
  KeepLonger(&trouble_, {.partition = partition.name,
                         .broker = partition.leader.broker,
                         .status = error,
                         .lasts = now - partition.retry.failing_since()});
  // What follows a batch that is not stored is refused too, for the gap that it leaves.
  Rewind(&partition, !IsRefusal(error));
  if (error.reason() == Reason::kUnknownProducer) WaitForEpoch(&partition);
  const std::optional<LeaderHint> hint = LeaderHintOf(error);
  if (hint) OnLeader(handle, {.broker = hint->broker, .epoch = hint->epoch});
}

void Producer::OnStreamClosed(BrokerId broker, const Status& why, MonotonicTime now) {
  Broker& closed = BrokerOf(broker);
  closed.inflight_bytes = 0;
  closed.retry.Fail(why, now, tuning_.backoff, random_);
  Unblock(&closed);
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
    MILLRACE_SOMETIMES("a producer's stream broke with batches in flight");
    if (MILLRACE_MUTANT(kClientTakesSentForStored)) {
      --partitions_[handle].in_flight;
      Answer(&partitions_[handle], Status::Ok(), Offset(-1), 0);
    }
    OnFailure(handle, why, now);
  }
}

void Producer::FailAll(const Status& status) {
  for (uint32_t handle = 0; handle < partitions_.size(); ++handle) {
    if (partitions_[handle].error.ok()) End(handle, status, Cause::kOther);
  }
  if (has_transactions()) transactions_->EndAll(status);
}

// Reports every record that is unanswered. What comes later must not be mistaken for it.
void Producer::Fail(Partition* partition, const Status& error, Cause cause) {
  CHECK(!error.ok());
  if (has_transactions()) {
    FailOldest(partition, error, cause);
    return AnswerFailed(partition);
  }
  // What follows a refused batch is refused too, for the gap that it leaves; unless an earlier
  // attempt left none.
  const bool leaves_gap = cause == Cause::kAnswer && IsRefusal(error) &&
                          !partition->batches.empty() && !partition->batches.front().is_in_doubt;
  Rewind(partition, !leaves_gap);
  if (!partition->batches.empty()) WaitForEpoch(partition);
  if (partition->open) {
    const uint32_t unused = partition->next_sequence;
    Seal(partition);
    partition->next_sequence = unused;
  }
  while (!partition->batches.empty()) Answer(partition, error, Offset(-1), 0);
  partition->retry.Clear();
}

void Producer::End(uint32_t handle, const Status& error, Cause cause) {
  Partition& partition = partitions_[handle];
  if (has_transactions()) {
    while (!partition.batches.empty() || partition.open) FailOldest(&partition, error, cause);
  } else {
    Fail(&partition, error, cause);
  }
  partition.error = error;
  if (std::exchange(partition.needs_epoch, false)) --epoch_waiters_;
  MarkReady(handle);
}

// Reports the oldest batch and forgets it.
void Producer::Answer(Partition* partition, Status status, Offset base_offset,
                      int64_t append_time_ms) {
  const Batch& batch = partition->batches.front();
  const bool may_be_stored = !status.ok() && batch.is_in_doubt;
  reports_.push_back({.partition = partition->name,
                      .status = std::move(status),
                      .base_offset = base_offset,
                      .record_count = batch.record_count,
                      .bytes = batch.records_bytes,
                      .append_time_ms = append_time_ms,
                      .may_be_stored = may_be_stored});
  unanswered_records_ -= batch.record_count;
  unanswered_bytes_ -= batch.records_bytes;
  const bool is_stored = reports_.back().status.ok();
  if (has_transactions() &&
      transactions_->Answered(batch.transaction, batch.record_count, is_stored)) {
    MarkAllReady();
  }
  partition->batches.pop_front();
}

}  // namespace millrace::client

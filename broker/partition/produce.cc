// What a batch must pass before it is appended: its bytes are checked, here or off the shard's
// thread, and then what the leader alone knows.

#include <string>
#include <string_view>
#include <utility>

#include "broker/partition/partition.h"
#include "proto/base/coverage.h"
#include "proto/base/mutants.h"

namespace millrace::broker {
namespace {

// A record may claim to be at most this much younger than the leader's clock.
constexpr int64_t kFutureTimestampMsMax = 24 * 3600 * 1000;

// `limit` is how the limit is named to programs.
Status TooLarge(const std::string& what, std::string_view limit, uint32_t bytes_max) {
  return InvalidArgument(what + " is larger than " + std::to_string(bytes_max),
                         Reason::kBatchTooLarge)
      .AddMetadata(std::string(limit), std::to_string(bytes_max));
}

}  // namespace

Status RecordWithoutKey(uint32_t place) {
  return InvalidArgument("record " + std::to_string(place) +
                         " has no key, and the topic is compacted (its setting cleanup)")
      .AddMetadata(kRecordWithoutKey, std::to_string(place));
}

Status NegativeExpectedEnd() { return InvalidArgument("expected_end_offset is negative"); }

void Partition::Produce(SentBatch batch, ProduceDone done) {
  if (!leadership_.is_ready) return done(raft_->NotLeader());
  if (Status knows = CheckKnowsEpochs(); !knows.ok()) return done(std::move(knows));
  const size_t size = batch.bytes.size();
  if (size > settings_.batch_bytes_max) {
    return done(TooLarge("batch of " + std::to_string(size) + " bytes", "batch_bytes_max",
                         settings_.batch_bytes_max));
  }
  if (batch.expected_end.has_value() && *batch.expected_end < Offset(0)) {
    return done(NegativeExpectedEnd());
  }
  Result<RecordBatchView> view = ParseRecordBatchHeader(batch.bytes.view(), UnknownFields::kRefuse);
  if (!view.ok()) return done(view.status());
  if (view->uncompressed_size > kInflatedBytesMax) {
    return done(TooLarge(
        "batch of " + std::to_string(view->uncompressed_size) + " bytes before compression",
        "uncompressed_bytes_max", kInflatedBytesMax));
  }
  // What comes behind a batch that is being checked must not overtake it.
  if (IsCompressed(view->compression) || batches_in_check_ > 0) {
    return CheckOffThread(batch, *view, std::move(done));
  }
  const Status checked = CheckRecordBatch(&*view, name_);
  if (!checked.ok()) return done(checked);
  TakeChecked(*view, batch, std::move(done));
}

void Partition::CheckOffThread(const SentBatch& batch, const RecordBatchView& view,
                               ProduceDone done) {
  const uint64_t size = batch.bytes.size() + view.uncompressed_size;
  if (const Status admitted = environment_.batches.Admit(size); !admitted.ok()) {
    return done(admitted);
  }
  ++batches_in_check_;
  environment_.batches.Run<Result<RecordBatchView>>(
      {.kind = BatchWorker::Kind::kProduced, .bytes = size},
      [bytes = batch.bytes, view = RecordBatchView(view),
       name = name_]() mutable -> Result<RecordBatchView> {
        RETURN_IF_ERROR(CheckRecordBatch(&view, name));
        return view;
      },
      [this, batch, life = lifetime_.watch(),
       done = std::move(done)](const Result<RecordBatchView>& checked) mutable {
        if (!life) return done(NotFound("the partition was deleted", Reason::kTopicDeleted));
        --batches_in_check_;
        if (!checked.ok()) return done(checked.status());
        if (!leadership_.is_ready) return done(raft_->NotLeader());
        TakeChecked(*checked, batch, std::move(done));
      });
}

void Partition::TakeChecked(const RecordBatchView& view, const SentBatch& batch, ProduceDone done) {
  const int64_t now_ms = environment_.clock.WallMs();
  if (view.max_timestamp_ms > now_ms + kFutureTimestampMsMax) {
    return done(InvalidArgument("record timestamp " + std::to_string(view.max_timestamp_ms) +
                                " is more than a day ahead of the broker's clock"));
  }
  if (Status full = environment_.store.admission(); !full.ok()) {
    MILLRACE_SOMETIMES("a full disk refused to produce");
    return done(std::move(full).RetryAfterMs(1000));
  }
  if (MILLRACE_MUTANT(kConditionBeforeSequence) && HasMoved(batch)) {
    return RefuseMoved(*batch.expected_end, std::move(done));
  }
  const ProducerId producer = view.producer_id;
  if (const Status allowed = CheckMayBegin(view.transaction_number, producer); !allowed.ok()) {
    return done(allowed);
  }
  if (producer != ProducerId()) {
    const Status given = CheckGiven(producer, view.producer_epoch);
    if (!given.ok()) return done(given);
    // What is of the open one has nothing to wait for: what is held waits for its end.
    const bool waits = held_.Holds(producer) && !producers_.OpenSince(NameOf(view)).has_value();
    if (waits) return Hold(view, batch, std::move(done));
    const SequenceCheck check = producers_.Check({.producer = producer,
                                                  .epoch = view.producer_epoch,
                                                  .first_sequence = view.first_sequence,
                                                  .is_repeated = batch.is_repeated});
    if (!Admit(check, &done)) return;
  }
  // What was stored before the topic was compacted, and is sent again, was answered above.
  if (const Status keyed = CheckKeys(view); !keyed.ok()) return done(keyed);
  // Last: what is a duplicate has itself moved the end that it names.
  if (HasMoved(batch)) return RefuseMoved(*batch.expected_end, std::move(done));
  if (!AdmitTransaction(view, batch, &done)) return;
  Append(view, batch.bytes, now_ms, std::move(done));
}

bool Partition::HasMoved(const SentBatch& batch) const {
  return batch.expected_end.has_value() && *batch.expected_end != raft_->next_offset();
}

// Whoever is refused takes the end that it is told for what others have stored. What is in flight
// may yet be cut; but only when this leader loses its term, and then nobody is refused.
void Partition::RefuseMoved(Offset expected, ProduceDone done) {
  const Offset end = raft_->next_offset();
  CHECK_NE(expected, end) << "group=" << group_;
  const Status error =
      FailedPrecondition("the partition's log ends at offset " + std::to_string(end.value()) +
                             ", and the batch was to be stored at " +
                             std::to_string(expected.value()),
                         Reason::kOffsetMoved)
          .AddMetadata("end_offset", std::to_string(end.value()));
  MILLRACE_SOMETIMES("a log did not end where a batch was to be stored");
  if (pending_.empty()) return RefuseOnceConfirmed(error, std::move(done));
  MILLRACE_SOMETIMES("a refusal waited for what was in flight");
  pending_.back().waiting.push_back(
      [this, error, done = std::move(done)](const Result<ProduceOutcome>& last) mutable {
        if (!last.ok()) return done(last.status());
        RefuseOnceConfirmed(error, std::move(done));
      });
}

// Compaction knows records by their keys: one that has none would stay for ever.
Status Partition::CheckKeys(const RecordBatchView& view) const {
  if (!settings_.compaction.is_compacted || !view.first_without_key.has_value()) return {};
  return RecordWithoutKey(*view.first_without_key);
}

// Whether the producer's id and epoch are of those that this cluster's brokers give away. An id
// that has state here was looked at when it got it.
Status Partition::CheckGiven(ProducerId producer, uint32_t epoch) const {
  if (epoch > kProducerEpochMax) {
    return InvalidArgument("producer_epoch " + std::to_string(epoch) + " is above " +
                           std::to_string(kProducerEpochMax) + ", the last that is given out");
  }
  if (producers_.Knows(producer)) return {};
  return CheckProducerId(environment_.image.producer_id_key(), producer);
}

}  // namespace millrace::broker

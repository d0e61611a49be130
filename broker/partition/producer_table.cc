#include "broker/partition/producer_table.h"

#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "broker/controller/producer_id.h"
#include "proto/base/coverage.h"

namespace millrace::broker {
namespace {

uint32_t NextSequence(const ProducedBatch& batch) {
  return (batch.first_sequence + batch.record_count) % kSequenceModulus;
}

// Whether `sequence` lies before `next` on the circle of sequences.
bool IsBefore(uint32_t sequence, uint32_t next) {
  const uint32_t distance = (next + kSequenceModulus - sequence) % kSequenceModulus;
  return distance != 0 && distance < kSequenceModulus / 2;
}

std::string NameOf(ProducerId producer) { return "producer " + std::to_string(producer.value()); }

SequenceCheck Refused(Status error) {
  SequenceCheck check;
  check.verdict = SequenceCheck::kRefused;
  check.error = std::move(error);
  return check;
}

SequenceCheck Known(SequenceCheck::Verdict verdict, const ProducedBatch& original,
                    LogIndex index = LogIndex()) {
  SequenceCheck check;
  check.verdict = verdict;
  check.original = original;
  check.original_index = index;
  return check;
}

}  // namespace

ProducerTable::~ProducerTable() {
  Clear();
  memory_->Remove(key_);
}

const ProducerTable::Producer* ProducerTable::Find(ProducerId producer) const {
  const auto found = by_id_.find(producer);
  return found == by_id_.end() ? nullptr : &*found->second;
}

SequenceCheck ProducerTable::Check(const Sequence& sequence) const {
  const auto& [producer, epoch, first_sequence, is_repeated] = sequence;
  const Producer* applied = Find(producer);
  const auto flying = in_flight_.find(producer);
  Newest newest;
  if (flying != in_flight_.end()) {
    newest = {.epoch = flying->second.epoch, .batch = &flying->second.batches.back().batch};
  } else if (applied != nullptr) {
    newest = {.epoch = applied->epoch, .batch = &applied->batches.back()};
  } else {
    return CheckUnknown(sequence);
  }
  if (epoch > newest.epoch) {
    if (first_sequence == 0) return {};
    return Refused(OutOfRange(NameOf(producer) + " must begin its new epoch at sequence 0",
                              Reason::kSequenceGap));
  }
  if (epoch < newest.epoch) {
    return Refused(Aborted(NameOf(producer) + " epoch " + std::to_string(epoch) +
                               " is fenced by epoch " + std::to_string(newest.epoch),
                           Reason::kProducerFenced));
  }
  if (flying != in_flight_.end()) {
    for (const Flying& one : flying->second.batches) {
      if (one.batch.first_sequence != first_sequence) continue;
      return Known(SequenceCheck::kInFlight, one.batch, one.index);
    }
  }
  if (applied != nullptr && applied->epoch == epoch) {
    for (const ProducedBatch& batch : applied->batches) {
      if (batch.first_sequence != first_sequence) continue;
      return Known(SequenceCheck::kDuplicate, batch);
    }
  }
  const uint32_t next = NextSequence(*newest.batch);
  if (first_sequence == next) return {};
  if (IsBefore(first_sequence, next)) return Known(SequenceCheck::kOldDuplicate, {});
  return Refused(OutOfRange(NameOf(producer) + " sent sequence " + std::to_string(first_sequence) +
                                " where " + std::to_string(next) + " is expected",
                            Reason::kSequenceGap));
}

SequenceCheck ProducerTable::CheckUnknown(const Sequence& sequence) const {
  const bool may_be_stored =
      sequence.is_repeated && ProducerNumber(sequence.producer) <= forgotten_number_;
  if (sequence.first_sequence == 0 && !may_be_stored) return {};
  MILLRACE_SOMETIMES("a producer that was forgotten was told so");
  return Refused(FailedPrecondition(
      NameOf(sequence.producer) + " is not known here: begin a new epoch at sequence 0",
      Reason::kUnknownProducer));
}

void ProducerTable::AddInFlight(ProducerId producer, uint32_t epoch, const ProducedBatch& batch,
                                LogIndex index) {
  InFlight& known = in_flight_[producer];
  if (epoch > known.epoch) known.batches.clear();
  known.epoch = epoch;
  known.batches.push_back({.index = index, .batch = batch});
}

void ProducerTable::Apply(ProducerId producer, uint32_t epoch, const ProducedBatch& batch,
                          LogIndex index) {
  Land(producer, index);
  Expire(batch.append_time_ms);
  const auto found = by_id_.find(producer);
  if (found == by_id_.end()) {
    if (by_id_.size() >= memory_->limits().per_partition) ForgetFront();
    producers_.push_back({.id = producer, .epoch = epoch, .batches = {batch}});
    by_id_.emplace(producer, std::prev(producers_.end()));
    memory_->Grew(1);  // last, for it may forget any
    return;
  }
  producers_.splice(producers_.end(), producers_, found->second);
  Producer& known = producers_.back();
  const bool follows_on =
      epoch == known.epoch && batch.first_sequence == NextSequence(known.batches.back());
  if (!follows_on) known.batches.clear();
  known.epoch = epoch;
  if (known.batches.size() == kProducerBatchesKept) known.batches.erase(known.batches.begin());
  known.batches.push_back(batch);
}

// What is applied up to `index` is not in flight any more.
void ProducerTable::Land(ProducerId producer, LogIndex index) {
  const auto flying = in_flight_.find(producer);
  if (flying == in_flight_.end()) return;
  std::vector<Flying>& batches = flying->second.batches;
  const auto first_left = std::find_if(batches.begin(), batches.end(),
                                       [index](const Flying& one) { return one.index > index; });
  batches.erase(batches.begin(), first_left);
  if (batches.empty()) in_flight_.erase(flying);
}

void ProducerTable::Expire(int64_t append_time_ms) {
  while (!producers_.empty() &&
         producers_.front().batches.back().append_time_ms < append_time_ms - kProducerExpiryMs) {
    by_id_.erase(producers_.front().id);
    producers_.pop_front();
    memory_->Shrank(1);
  }
}

// To make room: whoever is forgotten so may still repeat what it sent.
void ProducerTable::ForgetFront() {
  const ProducerId producer = producers_.front().id;
  forgotten_number_ = std::max(forgotten_number_, ProducerNumber(producer));
  by_id_.erase(producer);
  producers_.pop_front();
  memory_->Shrank(1);
}

void ProducerTable::ForgetOldest(const Oldest& oldest) {
  for (size_t forgotten = 0; forgotten < oldest.count_max && !producers_.empty(); ++forgotten) {
    if (producers_.front().batches.back().append_time_ms > oldest.append_time_ms_max) return;
    ForgetFront();
  }
}

void ProducerTable::AddAppendTimes(std::vector<int64_t>* times) const {
  for (const Producer& producer : producers_) {
    times->push_back(producer.batches.back().append_time_ms);
  }
}

void ProducerTable::Clear() {
  memory_->Shrank(by_id_.size());
  producers_.clear();
  by_id_.clear();
  forgotten_number_ = 0;
  in_flight_.clear();
}

FrozenProducers ProducerTable::Freeze() const {
  FrozenProducers frozen;
  frozen.forgotten_number_ = forgotten_number_;
  frozen.producers_.reserve(producers_.size());
  size_t batch_count = 0;
  for (const Producer& producer : producers_) batch_count += producer.batches.size();
  frozen.batches_.reserve(batch_count);
  for (const Producer& producer : producers_) {
    frozen.producers_.push_back({.id = producer.id,
                                 .epoch = producer.epoch,
                                 .batch_count = static_cast<uint32_t>(producer.batches.size())});
    frozen.batches_.insert(frozen.batches_.end(), producer.batches.begin(), producer.batches.end());
  }
  return frozen;
}

void FrozenProducers::SaveTo(internal::v1::PartitionState* state) const {
  state->set_forgotten_producer_number(forgotten_number_);
  auto batch = batches_.begin();
  for (const Producer& producer : producers_) {
    auto& saved = *state->add_producers();
    saved.set_producer_id(producer.id.value());
    saved.set_epoch(producer.epoch);
    for (uint32_t i = 0; i < producer.batch_count; ++i, ++batch) {
      auto& stored = *saved.add_batches();
      stored.set_first_sequence(batch->first_sequence);
      stored.set_record_count(batch->record_count);
      stored.set_base_offset(batch->base_offset.value());
      stored.set_append_time_ms(batch->append_time_ms);
    }
  }
}

Status ProducerTable::LoadFrom(const internal::v1::PartitionState& state) {
  Clear();
  forgotten_number_ = state.forgotten_producer_number();
  for (const auto& saved : state.producers()) {
    Producer producer{.id = ProducerId(saved.producer_id()), .epoch = saved.epoch(), .batches = {}};
    for (const auto& stored : saved.batches()) {
      producer.batches.push_back({.first_sequence = stored.first_sequence(),
                                  .record_count = stored.record_count(),
                                  .base_offset = Offset(stored.base_offset()),
                                  .append_time_ms = stored.append_time_ms()});
    }
    if (producer.batches.empty() || producer.batches.back().append_time_ms < 0 ||
        by_id_.contains(producer.id)) {
      return DataLoss("the partition's state in its segment is wrong about " + NameOf(producer.id));
    }
    if (by_id_.size() >= memory_->limits().per_partition) ForgetFront();
    producers_.push_back(std::move(producer));
    by_id_.emplace(producers_.back().id, std::prev(producers_.end()));
    memory_->Grew(1);
  }
  return {};
}

}  // namespace millrace::broker

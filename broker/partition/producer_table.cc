#include "broker/partition/producer_table.h"

#include <algorithm>
#include <string>

#include <glog/logging.h>

namespace millrace::broker {
namespace {

uint32_t NextSequence(const ProducedBatch& batch) {
  return (batch.first_sequence + batch.record_count) % kSequenceModulus;
}

const ProducedBatch* Find(const std::deque<ProducedBatch>& batches, uint32_t first_sequence) {
  auto found = std::find_if(batches.begin(), batches.end(), [&](const ProducedBatch& batch) {
    return batch.first_sequence == first_sequence;
  });
  return found == batches.end() ? nullptr : &*found;
}

// Whether `sequence` lies before `next` on the circle of sequences.
bool IsBefore(uint32_t sequence, uint32_t next) {
  const uint32_t distance = (next + kSequenceModulus - sequence) % kSequenceModulus;
  return distance != 0 && distance < kSequenceModulus / 2;
}

SequenceCheck Refused(Status error) {
  return {.verdict = SequenceCheck::kRefused, .original = {}, .error = std::move(error)};
}

SequenceCheck Known(SequenceCheck::Verdict verdict, const ProducedBatch& original) {
  return {.verdict = verdict, .original = original, .error = {}};
}

}  // namespace

SequenceCheck ProducerTable::Check(ProducerId producer, uint32_t epoch,
                                   uint32_t first_sequence) const {
  const auto applied = applied_.find(producer);
  const auto in_flight = in_flight_.find(producer);
  const Producer* newest = in_flight != in_flight_.end() ? &in_flight->second
                           : applied != applied_.end()   ? &applied->second
                                                         : nullptr;
  const std::string name = "producer " + std::to_string(producer.value());
  if (newest == nullptr || epoch > newest->epoch) {
    if (first_sequence == 0) return {};
    return Refused(
        newest == nullptr
            ? FailedPrecondition(name + " is not known here: begin a new epoch at sequence 0",
                                 Reason::kUnknownProducer)
            : OutOfRange(name + " must begin its new epoch at sequence 0", Reason::kSequenceGap));
  }
  if (epoch < newest->epoch) {
    return Refused(Aborted(name + " epoch " + std::to_string(epoch) + " is fenced by epoch " +
                               std::to_string(newest->epoch),
                           Reason::kProducerFenced));
  }
  if (in_flight != in_flight_.end()) {
    if (const ProducedBatch* batch = Find(in_flight->second.batches, first_sequence)) {
      return Known(SequenceCheck::kInFlight, *batch);
    }
  }
  if (applied != applied_.end() && applied->second.epoch == epoch) {
    if (const ProducedBatch* batch = Find(applied->second.batches, first_sequence)) {
      return Known(SequenceCheck::kDuplicate, *batch);
    }
  }
  const uint32_t next = NextSequence(newest->batches.back());
  if (first_sequence == next) return {};
  if (IsBefore(first_sequence, next)) return Known(SequenceCheck::kOldDuplicate, {});
  return Refused(OutOfRange(name + " sent sequence " + std::to_string(first_sequence) + " where " +
                                std::to_string(next) + " is expected",
                            Reason::kSequenceGap));
}

void ProducerTable::AddInFlight(ProducerId producer, uint32_t epoch, const ProducedBatch& batch) {
  Producer& known = in_flight_[producer];
  if (epoch > known.epoch) known.batches.clear();
  known.epoch = epoch;
  known.batches.push_back(batch);
}

void ProducerTable::Apply(ProducerId producer, uint32_t epoch, const ProducedBatch& batch) {
  Producer& known = applied_[producer];
  CHECK_GE(epoch, known.epoch) << "producer=" << producer;
  if (epoch > known.epoch) known.batches.clear();
  if (!known.batches.empty()) {
    CHECK_EQ(batch.first_sequence, NextSequence(known.batches.back())) << "producer=" << producer;
  }
  known.epoch = epoch;
  known.batches.push_back(batch);
  if (known.batches.size() > kProducerBatchesKept) known.batches.pop_front();
  auto flying = in_flight_.find(producer);
  if (flying == in_flight_.end()) return;
  std::deque<ProducedBatch>& batches = flying->second.batches;
  while (!batches.empty() && batches.front().index <= batch.index) batches.pop_front();
  if (batches.empty()) in_flight_.erase(flying);
}

void ProducerTable::ExpireBefore(int64_t append_time_ms) {
  std::erase_if(applied_, [append_time_ms](const auto& entry) {
    return entry.second.batches.back().append_time_ms < append_time_ms;
  });
}

void ProducerTable::Clear() {
  applied_.clear();
  in_flight_.clear();
}

void ProducerTable::SaveTo(internal::v1::PartitionState* state) const {
  for (const auto& [id, producer] : applied_) {
    auto& saved = *state->add_producers();
    saved.set_producer_id(id.value());
    saved.set_epoch(producer.epoch);
    for (const ProducedBatch& batch : producer.batches) {
      auto& stored = *saved.add_batches();
      stored.set_first_sequence(batch.first_sequence);
      stored.set_record_count(batch.record_count);
      stored.set_base_offset(batch.base_offset.value());
      stored.set_append_time_ms(batch.append_time_ms);
    }
  }
}

void ProducerTable::LoadFrom(const internal::v1::PartitionState& state) {
  Clear();
  for (const auto& saved : state.producers()) {
    Producer& producer = applied_[ProducerId(saved.producer_id())];
    producer.epoch = saved.epoch();
    for (const auto& stored : saved.batches()) {
      producer.batches.push_back({.first_sequence = stored.first_sequence(),
                                  .record_count = stored.record_count(),
                                  .base_offset = Offset(stored.base_offset()),
                                  .append_time_ms = stored.append_time_ms(),
                                  .index = LogIndex()});
    }
  }
}

}  // namespace millrace::broker

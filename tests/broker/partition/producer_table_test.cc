// What a partition says to a producer's sequence, from applied state and from what is in flight;
// and the table beside a naive model of it.

#include "broker/partition/producer_table.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "raft/runtime/random.h"

namespace millrace::broker {
namespace {

constexpr ProducerId kProducer{7};

ProducedBatch Batch(uint32_t first, uint32_t count, int64_t offset, int64_t append_time_ms) {
  return {.first_sequence = first,
          .record_count = count,
          .base_offset = Offset(offset),
          .append_time_ms = append_time_ms};
}

Sequence Numbered(ProducerId producer, uint32_t epoch, uint32_t first_sequence) {
  return {.producer = producer, .epoch = epoch, .first_sequence = first_sequence};
}

Sequence Repeated(Sequence sequence) {
  sequence.is_repeated = true;
  return sequence;
}

class ProducerTableTest : public ::testing::Test {
 protected:
  void AddInFlight(uint32_t epoch, const ProducedBatch& batch) {
    table.AddInFlight({kProducer, epoch}, batch, LogIndex(++last_appended));
  }
  // Applies a batch of a producer that sends nothing but this, or goes on.
  void Apply(ProducerId producer, uint32_t epoch, const ProducedBatch& batch) {
    table.Apply({producer, epoch}, batch, LogIndex(++last_applied));
  }
  SequenceCheck Check(uint32_t epoch, uint32_t sequence) {
    return table.Check(Numbered(kProducer, epoch, sequence));
  }

  ProducerMemory memory{{.per_partition = 4, .per_broker = 1000}};
  ProducerTable table{memory};
  uint64_t last_appended = 0;
  uint64_t last_applied = 0;
};

TEST_F(ProducerTableTest, TakesTheFirstBatch_OnlyAtSequenceZero) {
  EXPECT_EQ(Check(0, 0).verdict, SequenceCheck::kNew);
  const SequenceCheck other = Check(0, 5);
  EXPECT_EQ(other.verdict, SequenceCheck::kRefused);
  EXPECT_EQ(other.error.reason(), Reason::kUnknownProducer);
}

TEST_F(ProducerTableTest, TakesTheNextSequence_AndRefusesAGap) {
  AddInFlight(0, Batch(0, 3, 100, 1));
  EXPECT_EQ(Check(0, 3).verdict, SequenceCheck::kNew);
  EXPECT_EQ(Check(0, 4).error.reason(), Reason::kSequenceGap);
}

TEST_F(ProducerTableTest, ADuplicateInFlight_WaitsForTheOriginal) {
  AddInFlight(0, Batch(0, 3, 100, 1));
  AddInFlight(0, Batch(3, 3, 103, 1));
  const SequenceCheck check = Check(0, 3);
  EXPECT_EQ(check.verdict, SequenceCheck::kInFlight);
  EXPECT_EQ(check.original_index, LogIndex(2));
}

TEST_F(ProducerTableTest, AStoredDuplicate_GetsTheOriginalsOffset) {
  AddInFlight(0, Batch(0, 3, 100, 1));
  Apply(kProducer, 0, Batch(0, 3, 100, 1));
  const SequenceCheck check = Check(0, 0);
  EXPECT_EQ(check.verdict, SequenceCheck::kDuplicate);
  EXPECT_EQ(check.original.base_offset, Offset(100));
}

TEST_F(ProducerTableTest, AnOldDuplicate_IsSaidToBeOne_NeverAGap) {
  for (uint32_t i = 0; i < kProducerBatchesKept + 4; ++i) {
    Apply(kProducer, 0, Batch(i, 1, i, i + 1));
  }
  EXPECT_EQ(Check(0, 0).verdict, SequenceCheck::kOldDuplicate);
  EXPECT_EQ(Check(0, 4).verdict, SequenceCheck::kDuplicate);
}

TEST_F(ProducerTableTest, ANewEpoch_BeginsAtZero_AndFencesTheOld) {
  Apply(kProducer, 0, Batch(0, 3, 0, 1));
  EXPECT_EQ(Check(1, 3).verdict, SequenceCheck::kRefused);
  EXPECT_EQ(Check(1, 0).verdict, SequenceCheck::kNew);
  AddInFlight(1, Batch(0, 1, 3, 2));
  EXPECT_EQ(Check(0, 3).error.reason(), Reason::kProducerFenced);
}

TEST_F(ProducerTableTest, WhatWasInFlight_IsForgotten_WhenTheTermIsLost) {
  Apply(kProducer, 0, Batch(0, 3, 0, 1));
  last_appended = last_applied;
  AddInFlight(0, Batch(3, 3, 3, 2));
  table.DropInFlight();
  EXPECT_EQ(Check(0, 3).verdict, SequenceCheck::kNew);
}

TEST_F(ProducerTableTest, SequencesWrap) {
  Apply(kProducer, 0, Batch(kSequenceModulus - 2, 2, 0, 1));
  EXPECT_EQ(Check(0, 0).verdict, SequenceCheck::kNew);
  Apply(kProducer, 0, Batch(0, 5, 2, 2));
  EXPECT_EQ(Check(0, kSequenceModulus - 2).verdict, SequenceCheck::kDuplicate);
}

TEST_F(ProducerTableTest, ASnapshot_HoldsEverythingThatDecides) {
  for (uint32_t i = 0; i < 5; ++i) Apply(kProducer, 2, Batch(i * 2, 2, i * 2, i + 1));
  for (uint64_t id = 1; id <= 4; ++id) {
    Apply(ProducerId(id), 0, Batch(0, 1, 100 + static_cast<int64_t>(id), 10));
  }
  internal::v1::PartitionState state;
  table.Freeze().SaveTo(&state);
  ProducerTable restored(memory);
  ASSERT_TRUE(restored.LoadFrom(state).ok());
  internal::v1::PartitionState again;
  restored.Freeze().SaveTo(&again);
  EXPECT_EQ(state.SerializeAsString(), again.SerializeAsString());
  EXPECT_EQ(restored.Check(Repeated(Numbered(kProducer, 2, 0))).error.reason(),
            Reason::kUnknownProducer);
}

TEST_F(ProducerTableTest, AStateThatIsNone_IsDataLoss) {
  using Saved = internal::v1::ProducersSnapshot;
  internal::v1::PartitionState whole;
  for (uint64_t id = 5; id <= 6; ++id) {
    Saved& producers = *whole.mutable_producers();
    producers.add_producer_ids(id);
    producers.add_epochs(0);
    producers.add_batch_counts(1);
    producers.add_first_sequences(0);
    producers.add_record_counts(1);
    producers.add_base_offset_steps(id);
    producers.add_append_time_steps_ms(1);
  }
  const auto load_with = [&](const auto& change) {
    internal::v1::PartitionState changed = whole;
    change(*changed.mutable_producers());
    return table.LoadFrom(changed).code();
  };
  EXPECT_EQ(load_with([](Saved&) {}), Code::kOk);
  EXPECT_EQ(load_with([](Saved& of) { of.add_producer_ids(7); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.clear_epochs(); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.clear_batch_counts(); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.clear_first_sequences(); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.add_record_counts(1); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.clear_base_offset_steps(); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.clear_append_time_steps_ms(); }), Code::kDataLoss);
  const auto set_counts = [](Saved& of, uint32_t one, uint32_t other) {
    of.set_batch_counts(0, one);
    of.set_batch_counts(1, other);
  };
  EXPECT_EQ(load_with([&](Saved& of) { set_counts(of, 2, 0); }), Code::kDataLoss) << "none of one";
  EXPECT_EQ(load_with([&](Saved& of) { set_counts(of, UINT32_MAX, 3); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.set_producer_ids(1, 5); }), Code::kDataLoss) << "twice";
  EXPECT_EQ(load_with([](Saved& of) { of.set_base_offset_steps(1, 5); }), Code::kDataLoss)
      << "not after the one before";
  EXPECT_EQ(load_with([](Saved& of) { of.set_base_offset_steps(1, UINT64_MAX); }), Code::kDataLoss);
  EXPECT_EQ(load_with([](Saved& of) { of.set_append_time_steps_ms(1, UINT64_MAX); }),
            Code::kDataLoss);
}

TEST_F(ProducerTableTest, AStateOfBatchesAcrossTheWrap_IsRestored) {
  Apply(kProducer, 0, Batch(kSequenceModulus - 2, 2, 0, 1));
  Apply(kProducer, 0, Batch(0, 5, 2, 2));
  internal::v1::PartitionState state;
  table.Freeze().SaveTo(&state);
  ASSERT_TRUE(table.LoadFrom(state).ok());
  EXPECT_EQ(Check(0, kSequenceModulus - 2).original.base_offset, Offset(0));
  EXPECT_EQ(Check(0, 0).original.base_offset, Offset(2));
}

TEST_F(ProducerTableTest, ForgetsAProducer_AWeekAfterItsLastAppend_AtTheNextEntry) {
  Apply(ProducerId(1), 0, Batch(0, 1, 0, 1000));
  Apply(ProducerId(2), 0, Batch(0, 1, 1, 1001));
  Apply(ProducerId(3), 0, Batch(0, 1, 2, 1001 + kProducerExpiryMs));
  EXPECT_FALSE(table.Knows(ProducerId(1)));
  EXPECT_TRUE(table.Knows(ProducerId(2)));
  EXPECT_EQ(memory.count(), 2u);
  // Time makes nobody forgotten who may still repeat: his number is as good as new.
  EXPECT_EQ(table.Check(Repeated(Numbered(ProducerId(1), 0, 0))).verdict, SequenceCheck::kNew);
}

TEST_F(ProducerTableTest, ThatIsFull_ForgetsWhoWasSilentLongest) {
  for (uint64_t id = 1; id <= 4; ++id) Apply(ProducerId(id), 0, Batch(0, 1, 0, 1));
  Apply(ProducerId(1), 0, Batch(1, 1, 4, 1));
  Apply(ProducerId(5), 0, Batch(0, 1, 5, 1));
  EXPECT_EQ(table.size(), 4u);
  EXPECT_TRUE(table.Knows(ProducerId(1)));
  EXPECT_FALSE(table.Knows(ProducerId(2)));
  EXPECT_TRUE(table.Knows(ProducerId(3)));
}

TEST_F(ProducerTableTest, WhoWasForgotten_IsToldSo_AndGoesOnUnderItsNextEpoch) {
  for (uint64_t id = 1; id <= 5; ++id) Apply(ProducerId(id), 0, Batch(0, 1, 0, 1));
  EXPECT_EQ(table.Check(Numbered(ProducerId(1), 0, 1)).error.reason(), Reason::kUnknownProducer);
  EXPECT_EQ(table.Check(Numbered(ProducerId(1), 1, 0)).verdict, SequenceCheck::kNew);
}

// Its first batch is stored, the answer was lost, others came: sent again it must not be taken for
// new, under whatever epoch.
TEST_F(ProducerTableTest, AFirstBatch_SentAgainByOneWhoWasForgotten_IsNotStoredTwice) {
  for (uint64_t id = 1; id <= 4; ++id) {
    Apply(ProducerId(id), 3, Batch(0, 1, 0, 1));
    EXPECT_EQ(table.Check(Repeated(Numbered(ProducerId(id + 1), 3, 0))).verdict,
              SequenceCheck::kNew)
        << "nobody was forgotten yet";
  }
  Apply(ProducerId(5), 3, Batch(0, 1, 0, 1));
  EXPECT_EQ(table.Check(Repeated(Numbered(ProducerId(1), 3, 0))).error.reason(),
            Reason::kUnknownProducer);
  EXPECT_EQ(table.Check(Repeated(Numbered(ProducerId(6), 3, 0))).verdict, SequenceCheck::kNew)
      << "its number is above all that were forgotten";
  EXPECT_EQ(table.Check(Numbered(ProducerId(1), 4, 0)).verdict, SequenceCheck::kNew);
}

TEST_F(ProducerTableTest, TheLogsWordCounts_WhereTheLeaderHadForgottenTheProducer) {
  Apply(kProducer, 0, Batch(0, 3, 0, 1));
  Apply(kProducer, 0, Batch(3, 3, 3, 2));
  Apply(kProducer, 0, Batch(0, 1, 6, 3));
  EXPECT_EQ(Check(0, 1).verdict, SequenceCheck::kNew);
  EXPECT_EQ(Check(0, 0).original.base_offset, Offset(6));
}

// All batches of all producers, searched from the front.
class NaiveTable {
 public:
  explicit NaiveTable(size_t producers_max) : producers_max_(producers_max) {}

  void Apply(ProducerId id, uint32_t epoch, const ProducedBatch& batch) {
    std::erase_if(producers_, [&batch](const Producer& known) {
      return known.batches.back().append_time_ms < batch.append_time_ms - kProducerExpiryMs;
    });
    Producer producer{.id = id, .epoch = epoch, .batches = {}};
    for (size_t i = 0; i < producers_.size(); ++i) {
      if (producers_[i].id != id) continue;
      if (producers_[i].epoch == epoch) producer.batches = producers_[i].batches;
      producers_.erase(producers_.begin() + static_cast<ptrdiff_t>(i));
      break;
    }
    producer.batches.push_back(batch);
    producers_.push_back(producer);
    if (producers_.size() <= producers_max_) return;
    forgotten_ = std::max(forgotten_, producers_.front().id.value());
    producers_.erase(producers_.begin());
  }

  SequenceCheck::Verdict Check(const Sequence& asked) const {
    const auto& [id, epoch, sequence, is_repeated] = asked;
    for (const Producer& producer : producers_) {
      if (producer.id != asked.producer) continue;
      if (epoch > producer.epoch) return sequence == 0 ? SequenceCheck::kNew : kRefused;
      if (epoch < producer.epoch) return kRefused;
      const ProducedBatch& last = producer.batches.back();
      const uint32_t next = last.first_sequence + last.record_count;
      if (sequence >= next) return sequence == next ? SequenceCheck::kNew : kRefused;
      const size_t kept = std::min<size_t>(producer.batches.size(), kProducerBatchesKept);
      for (auto batch = producer.batches.end() - static_cast<ptrdiff_t>(kept);
           batch != producer.batches.end(); ++batch) {
        if (batch->first_sequence == sequence) return SequenceCheck::kDuplicate;
      }
      return SequenceCheck::kOldDuplicate;
    }
    const bool is_new = sequence == 0 && (!is_repeated || id.value() > forgotten_);
    return is_new ? SequenceCheck::kNew : kRefused;
  }

 private:
  static constexpr SequenceCheck::Verdict kRefused = SequenceCheck::kRefused;
  struct Producer {
    ProducerId id;
    uint32_t epoch = 0;
    std::vector<ProducedBatch> batches;
  };

  const size_t producers_max_;
  std::vector<Producer> producers_;  // by last append
  uint64_t forgotten_ = 0;
};

// The sequence that the table takes next, if any below 60.
std::optional<uint32_t> NextOf(const ProducerTable& table, ProducerId id, uint32_t epoch) {
  for (uint32_t sequence = 0; sequence < 60; ++sequence) {
    if (table.Check(Numbered(id, epoch, sequence)).verdict == SequenceCheck::kNew) return sequence;
  }
  return std::nullopt;
}

std::string Saved(const FrozenProducers& frozen) {
  internal::v1::PartitionState state;
  frozen.SaveTo(&state);
  return state.SerializeAsString();
}

// Views of a table, each with what it held when it was taken.
class Views {
 public:
  void Add(FrozenProducers frozen) {
    std::string state = Saved(frozen);
    views_.emplace_back(std::move(frozen), std::move(state));
  }
  void CheckAndDrop() {
    for (const auto& [frozen, state] : views_) EXPECT_EQ(Saved(frozen), state);
    views_.clear();
  }

 private:
  std::vector<std::pair<FrozenProducers, std::string>> views_;
};

void Restart(ProducerMemory& memory, std::optional<ProducerTable>* table) {
  internal::v1::PartitionState state;
  (*table)->Freeze().SaveTo(&state);
  table->emplace(memory);
  ASSERT_TRUE((*table)->LoadFrom(state).ok());
}

// Producers that send, repeat and raise their epochs, appended and applied in turn, with restarts
// from a snapshot and losses of the term in between, while views of it stay what they were.
TEST(ProducerTableProperty, SaysWhatANaiveModelSays) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const size_t producers_max = random.Between(1, 6);
    ProducerMemory memory({.per_partition = producers_max, .per_broker = 1000});
    std::optional<ProducerTable> table(std::in_place, memory);
    NaiveTable model(producers_max);
    Views views;
    int64_t time = 1'000'000;
    for (uint64_t index = 1; index <= 2000; ++index) {
      time += random.OneIn(100) ? kProducerExpiryMs / 2 : static_cast<int64_t>(random.Below(10));
      const ProducerId id(random.Between(1, 8));
      const auto epoch = static_cast<uint32_t>(random.Below(3));
      for (uint32_t sequence = 0; sequence < 60; ++sequence) {
        Sequence asked = Numbered(id, epoch, sequence);
        asked.is_repeated = random.OneIn(2);
        ASSERT_EQ(table->Check(asked).verdict, model.Check(asked))
            << "index " << index << " sequence " << sequence;
      }
      const std::optional<uint32_t> next = NextOf(*table, id, epoch);
      if (!next.has_value()) continue;
      const ProducedBatch batch = Batch(*next, 1, static_cast<int64_t>(index), time);
      table->AddInFlight({id, epoch}, batch, LogIndex(index));
      ASSERT_EQ(table->Check(Numbered(id, epoch, *next)).verdict, SequenceCheck::kInFlight);
      if (random.OneIn(5)) {
        table->DropInFlight();
        if (random.OneIn(2)) continue;  // it was not committed
      }
      table->Apply({id, epoch}, batch, LogIndex(index));
      model.Apply(id, epoch, batch);
      if (random.OneIn(20)) views.Add(table->Freeze());
      if (random.OneIn(60)) views.CheckAndDrop();
      if (random.OneIn(50)) Restart(memory, &table);
      ASSERT_EQ(memory.count(), table->size());
    }
  }
}

}  // namespace
}  // namespace millrace::broker

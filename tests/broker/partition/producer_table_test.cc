// What a partition says to a producer's sequence, from applied state and from what is in flight.

#include "broker/partition/producer_table.h"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr ProducerId kProducer{7};

ProducedBatch Batch(uint32_t first, uint32_t count, int64_t offset, uint64_t index) {
  return {.first_sequence = first,
          .record_count = count,
          .base_offset = Offset(offset),
          .append_time_ms = static_cast<int64_t>(index),
          .index = LogIndex(index)};
}

TEST(ProducerTable, TakesTheFirstBatch_OnlyAtSequenceZero) {
  ProducerTable table;
  EXPECT_EQ(table.Check(kProducer, 0, 0).verdict, SequenceCheck::kNew);
  const SequenceCheck other = table.Check(kProducer, 0, 5);
  EXPECT_EQ(other.verdict, SequenceCheck::kRefused);
  EXPECT_EQ(other.error.reason(), Reason::kUnknownProducer);
}

TEST(ProducerTable, TakesTheNextSequence_AndRefusesAGap) {
  ProducerTable table;
  table.AddInFlight(kProducer, 0, Batch(0, 3, 100, 1));
  EXPECT_EQ(table.Check(kProducer, 0, 3).verdict, SequenceCheck::kNew);
  EXPECT_EQ(table.Check(kProducer, 0, 4).error.reason(), Reason::kSequenceGap);
}

TEST(ProducerTable, ADuplicateInFlight_WaitsForTheOriginal) {
  ProducerTable table;
  table.AddInFlight(kProducer, 0, Batch(0, 3, 100, 1));
  const SequenceCheck check = table.Check(kProducer, 0, 0);
  EXPECT_EQ(check.verdict, SequenceCheck::kInFlight);
  EXPECT_EQ(check.original.index, LogIndex(1));
}

TEST(ProducerTable, AStoredDuplicate_GetsTheOriginalsOffset) {
  ProducerTable table;
  table.AddInFlight(kProducer, 0, Batch(0, 3, 100, 1));
  table.Apply(kProducer, 0, Batch(0, 3, 100, 1));
  const SequenceCheck check = table.Check(kProducer, 0, 0);
  EXPECT_EQ(check.verdict, SequenceCheck::kDuplicate);
  EXPECT_EQ(check.original.base_offset, Offset(100));
}

TEST(ProducerTable, AnOldDuplicate_IsSaidToBeOne_NeverAGap) {
  ProducerTable table;
  for (uint32_t i = 0; i < kProducerBatchesKept + 4; ++i) {
    table.Apply(kProducer, 0, Batch(i, 1, i, i + 1));
  }
  EXPECT_EQ(table.Check(kProducer, 0, 0).verdict, SequenceCheck::kOldDuplicate);
  EXPECT_EQ(table.Check(kProducer, 0, 4).verdict, SequenceCheck::kDuplicate);
}

TEST(ProducerTable, ANewEpoch_BeginsAtZero_AndFencesTheOld) {
  ProducerTable table;
  table.Apply(kProducer, 0, Batch(0, 3, 0, 1));
  EXPECT_EQ(table.Check(kProducer, 1, 3).verdict, SequenceCheck::kRefused);
  EXPECT_EQ(table.Check(kProducer, 1, 0).verdict, SequenceCheck::kNew);
  table.AddInFlight(kProducer, 1, Batch(0, 1, 3, 2));
  EXPECT_EQ(table.Check(kProducer, 0, 3).error.reason(), Reason::kProducerFenced);
}

TEST(ProducerTable, WhatWasInFlight_IsForgotten_WhenTheTermIsLost) {
  ProducerTable table;
  table.Apply(kProducer, 0, Batch(0, 3, 0, 1));
  table.AddInFlight(kProducer, 0, Batch(3, 3, 3, 2));
  table.DropInFlight();
  EXPECT_EQ(table.Check(kProducer, 0, 3).verdict, SequenceCheck::kNew);
}

TEST(ProducerTable, SequencesWrap) {
  ProducerTable table;
  table.Apply(kProducer, 0, Batch(kSequenceModulus - 2, 2, 0, 1));
  EXPECT_EQ(table.Check(kProducer, 0, 0).verdict, SequenceCheck::kNew);
  table.Apply(kProducer, 0, Batch(0, 5, 2, 2));
  EXPECT_EQ(table.Check(kProducer, 0, kSequenceModulus - 2).verdict, SequenceCheck::kDuplicate);
}

TEST(ProducerTable, ASnapshot_HoldsEverythingThatDecides) {
  ProducerTable table;
  for (uint32_t i = 0; i < 5; ++i) table.Apply(kProducer, 2, Batch(i * 2, 2, i * 2, i + 1));
  internal::v1::PartitionState state;
  table.SaveTo(&state);
  ProducerTable restored;
  restored.LoadFrom(state);
  for (uint32_t sequence = 0; sequence < 14; ++sequence) {
    const SequenceCheck was = table.Check(kProducer, 2, sequence);
    const SequenceCheck is = restored.Check(kProducer, 2, sequence);
    EXPECT_EQ(was.verdict, is.verdict) << sequence;
    EXPECT_EQ(was.original.base_offset, is.original.base_offset) << sequence;
  }
}

TEST(ProducerTable, ForgetsProducers_ByAppendTimeAlone) {
  ProducerTable table;
  table.Apply(ProducerId(1), 0, Batch(0, 1, 0, 10));
  table.Apply(ProducerId(2), 0, Batch(0, 1, 1, 20));
  table.ExpireBefore(15);
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.Check(ProducerId(2), 0, 0).verdict, SequenceCheck::kDuplicate);
}

}  // namespace
}  // namespace millrace::broker

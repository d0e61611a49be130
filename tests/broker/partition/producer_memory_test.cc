// All partitions of a broker together remember a bounded number of producers.

#include "broker/partition/producer_memory.h"

#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <malloc.h>

#include "broker/partition/producer_table.h"

namespace millrace::broker {
namespace {

ProducedBatch BatchAt(int64_t append_time_ms) {
  return {.first_sequence = 0,
          .record_count = 1,
          .base_offset = Offset(0),
          .append_time_ms = append_time_ms};
}

TEST(ProducerMemory, ForgetsTheOldestOfAllPartitions_WhenTheBrokerIsFull) {
  ProducerMemory memory({.per_partition = 1000, .per_broker = 80});
  ProducerTable quiet(memory);
  ProducerTable busy(memory);
  for (uint64_t id = 1; id <= 40; ++id) {
    quiet.Apply({ProducerId(id), 0}, BatchAt(1000 + static_cast<int64_t>(id)), LogIndex(id));
  }
  for (uint64_t id = 101; id <= 141; ++id) {
    busy.Apply({ProducerId(id), 0}, BatchAt(2000), LogIndex(id));
  }
  EXPECT_EQ(memory.count(), 70u) << "an eighth at a time";
  EXPECT_EQ(busy.size(), 41u);
  EXPECT_FALSE(quiet.Knows(ProducerId(11)));
  EXPECT_TRUE(quiet.Knows(ProducerId(12)));
}

TEST(ProducerMemory, IsBounded_AlsoWhereAllTimesAreEqual) {
  ProducerMemory memory({.per_partition = 1000, .per_broker = 80});
  std::vector<std::unique_ptr<ProducerTable>> tables;
  for (int i = 0; i < 3; ++i) tables.push_back(std::make_unique<ProducerTable>(memory));
  for (uint64_t id = 1; id <= 10'000; ++id) {
    tables[id % 3]->Apply({ProducerId(id), 0}, BatchAt(1), LogIndex(id));
    ASSERT_LE(memory.count(), 80u);
  }
}

TEST(ProducerMemory, CountsNothing_OfATableThatIsGone) {
  ProducerMemory memory({.per_partition = 1000, .per_broker = 80});
  auto table = std::make_unique<ProducerTable>(memory);
  table->Apply({ProducerId(1), 0}, BatchAt(1), LogIndex(1));
  EXPECT_EQ(memory.count(), 1u);
  table.reset();
  EXPECT_EQ(memory.count(), 0u);
}

TEST(ProducerMemory, OfAProducerThatSentOneBatch_IsUnder200Bytes) {
  ProducerMemory memory({.per_partition = 100'000, .per_broker = 100'000});
  ProducerTable table(memory);
  const size_t before = mallinfo2().uordblks;
  for (uint64_t id = 1; id <= 10'000; ++id) {
    table.Apply({ProducerId(id), 0}, BatchAt(1), LogIndex(id));
  }
  const size_t each = (mallinfo2().uordblks - before) / 10'000;
  RecordProperty("bytes_each", static_cast<int>(each));
  EXPECT_LT(each, 200u);
}

}  // namespace
}  // namespace millrace::broker

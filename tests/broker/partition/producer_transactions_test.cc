// What a partition remembers of producers' transactions: who is forgotten, and what a state says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/partition/producer_table.h"

namespace millrace::broker {
namespace {

class ProducerTransactionsTest : public testing::Test {
 protected:
  void Apply(uint64_t producer, uint64_t number) {
    const ProducedBatch batch{.first_sequence = sequence_[producer]++,
                              .record_count = 1,
                              .base_offset = Offset(next_offset_++),
                              .append_time_ms = now_ms_};
    table_.Apply({ProducerId(producer), 0, number}, batch, LogIndex(++index_));
  }
  std::optional<Offset> End(uint64_t producer, uint64_t number) {
    return table_.ApplyEnd({.name = {ProducerId(producer), 0, number},
                            .index = LogIndex(++index_),
                            .offset = Offset(next_offset_)});
  }
  internal::v1::PartitionState Saved() {
    internal::v1::PartitionState state;
    table_.Freeze().SaveTo(&state);
    return state;
  }

  ProducerMemory memory_{{.per_partition = 2, .per_broker = 3}};
  ProducerTable table_{memory_};
  std::map<uint64_t, uint32_t> sequence_;
  int64_t next_offset_ = 0;
  int64_t now_ms_ = 1'000;
  uint64_t index_ = 0;
};

TEST_F(ProducerTransactionsTest, WhoHasOneOpen_IsNotForgotten_AndTakesNoRoom) {
  for (uint64_t producer = 1; producer <= 5; ++producer) Apply(producer, 1);
  EXPECT_EQ(table_.size(), 5U);
  EXPECT_EQ(memory_.count(), 0U);
  Apply(6, 0);
  Apply(7, 0);
  now_ms_ += 2 * kProducerExpiryMs;
  Apply(8, 0);
  EXPECT_EQ(table_.size(), 6U) << "the five, and the last one";
  EXPECT_EQ(table_.oldest_open(), Offset(0));
}

TEST_F(ProducerTransactionsTest, WhoEndsIt_IsOneOfTheOthers_LastHeardOfThen) {
  Apply(1, 1);
  Apply(2, 0);
  EXPECT_EQ(End(1, 1), Offset(0));
  EXPECT_EQ(memory_.count(), 2U);
  Apply(3, 0);  // there is no room for three
  EXPECT_TRUE(table_.Knows(ProducerId(1)));
  EXPECT_FALSE(table_.Knows(ProducerId(2)));
  EXPECT_EQ(table_.oldest_open(), std::nullopt);
  EXPECT_TRUE(table_.HasEnded({ProducerId(1), 0, 1}));
  EXPECT_FALSE(table_.HasEnded({ProducerId(1), 0, 2}));
  EXPECT_FALSE(table_.HasEnded({ProducerId(3), 0, 1}));
}

TEST_F(ProducerTransactionsTest, TheOldestOpenOne_IsByItsFirstBatch) {
  Apply(1, 1);
  Apply(2, 1);
  Apply(1, 1);
  EXPECT_EQ(table_.oldest_open(), Offset(0));
  EXPECT_EQ(End(1, 1), Offset(0));
  EXPECT_EQ(table_.oldest_open(), Offset(1));
  Apply(1, 2);
  EXPECT_EQ(End(2, 1), Offset(1));
  EXPECT_EQ(table_.oldest_open(), Offset(3));
}

TEST_F(ProducerTransactionsTest, AState_RestoresTheSameOrders) {
  Apply(1, 1);
  Apply(2, 1);
  Apply(3, 0);
  Apply(1, 1);
  Apply(4, 1);
  EXPECT_EQ(End(4, 1), Offset(4));
  EXPECT_EQ(End(2, 1), Offset(1));
  const internal::v1::PartitionState state = Saved();
  ProducerMemory memory({.per_partition = 2, .per_broker = 3});
  ProducerTable other(memory);
  ASSERT_TRUE(other.LoadFrom(state).ok());
  EXPECT_EQ(other.oldest_open(), table_.oldest_open());
  EXPECT_EQ(memory.count(), memory_.count());
  internal::v1::PartitionState again;
  other.Freeze().SaveTo(&again);
  EXPECT_EQ(again.SerializeAsString(), state.SerializeAsString());
}

TEST_F(ProducerTransactionsTest, AStateThatIsNone_IsDataLoss) {
  Apply(1, 1);
  Apply(2, 1);
  ASSERT_EQ(End(2, 1), Offset(1));
  const internal::v1::PartitionState state = Saved();
  const auto expect_refused = [this, &state](const char* what, auto change) {
    internal::v1::PartitionState changed = state;
    change(changed.mutable_producers()->mutable_transactions());
    EXPECT_EQ(table_.LoadFrom(changed).code(), Code::kDataLoss) << what;
  };
  ASSERT_EQ(state.producers().transactions_size(), 2);
  expect_refused("of nobody", [](auto* all) { all->Mutable(1)->set_place(7); });
  expect_refused("two of one", [](auto* all) { all->Mutable(1)->set_place(0); });
  expect_refused("no number", [](auto* all) { all->Mutable(0)->set_number(0); });
  expect_refused("a later epoch", [](auto* all) { all->Mutable(0)->set_epoch(9); });
  expect_refused("before the log", [](auto* all) { all->Mutable(0)->set_first_offset(-1); });
  expect_refused("behind its batch", [](auto* all) { all->Mutable(0)->set_first_offset(1); });
  expect_refused("an end before its begin", [](auto* all) {
    for (auto& one : *all) {
      if (one.end_index() > 0) one.set_end_offset(1);
    }
  });
  EXPECT_TRUE(table_.LoadFrom(state).ok());
}

}  // namespace
}  // namespace millrace::broker

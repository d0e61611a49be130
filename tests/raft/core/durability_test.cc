#include "raft/core/durability.h"

#include <vector>

#include <gtest/gtest.h>

namespace millrace::raft::core {
namespace {

constexpr Voter kPeer{BrokerId(2), Incarnation(12), ReplicaNumber(2)};

class DurabilityTest : public testing::Test {
 protected:
  static OutgoingMessage Reply(uint64_t index) {
    return {.to = kPeer,
            .message = AppendReply{.term = Term(1), .success = true, .index = LogIndex(index)}};
  }
  // The indexes that replies may tell now.
  std::vector<uint64_t> Released() {
    std::vector<OutgoingMessage> messages;
    durability_.ReleaseInto(&messages);
    std::vector<uint64_t> indexes;
    for (const OutgoingMessage& released : messages) {
      indexes.push_back(std::get<AppendReply>(released.message).index.value());
    }
    return indexes;
  }
  DurablePoint PointNow(uint64_t last_index) const {
    return {.hard_state_version = durability_.hard_state_version(),
            .last_index = LogIndex(last_index),
            .epoch = durability_.epoch()};
  }

  Durability durability_{LogIndex(3), TruncationEpoch(5)};
};

TEST_F(DurabilityTest, WhatAReplicaStartsWith_IsDurable) {
  EXPECT_TRUE(durability_.Covers(LogIndex(3)));
  EXPECT_FALSE(durability_.Covers(LogIndex(4)));
}

TEST_F(DurabilityTest, APromise_WaitsForTheHardStateOfItsTime_AndForItsEntries) {
  durability_.OnHardStateChanged();
  durability_.Delay(Reply(4), LogIndex(4));
  durability_.OnDurable(
      {.hard_state_version = 0, .last_index = LogIndex(4), .epoch = durability_.epoch()},
      LogIndex(4));
  EXPECT_TRUE(Released().empty()) << "the vote is not on disk";
  durability_.OnDurable(PointNow(4), LogIndex(4));
  EXPECT_EQ(Released(), std::vector<uint64_t>{4});
}

TEST_F(DurabilityTest, Promises_LeaveInTheirOrder_EachWhenItMay) {
  for (const uint64_t index : {4, 6, 5}) durability_.Delay(Reply(index), LogIndex(index));
  durability_.OnDurable(PointNow(5), LogIndex(6));
  EXPECT_EQ(Released(), (std::vector<uint64_t>{4, 5}));
  durability_.OnDurable(PointNow(6), LogIndex(6));
  EXPECT_EQ(Released(), std::vector<uint64_t>{6});
}

TEST_F(DurabilityTest, ACut_TakesBackWhatWasPromisedOfTheEntries) {
  durability_.Delay(Reply(4), LogIndex(4));
  durability_.Delay(Reply(5), LogIndex(5));
  durability_.Truncate(LogIndex(5));
  durability_.OnDurable(PointNow(5), LogIndex(5));
  EXPECT_EQ(Released(), std::vector<uint64_t>{4});
}

// Entries 4 and 5 are written, then replaced while their write is under way.
TEST_F(DurabilityTest, ALateCompletion_DoesNotMarkWhatReplacedItsEntries) {
  const DurablePoint of_replaced = PointNow(5);
  durability_.Truncate(LogIndex(4));
  const DurablePoint of_replacing = PointNow(5);
  durability_.OnDurable(of_replaced, LogIndex(5));
  EXPECT_EQ(durability_.index(), LogIndex(3));
  durability_.OnDurable(of_replacing, LogIndex(5));
  EXPECT_EQ(durability_.index(), LogIndex(5));
}

// Completions of an earlier epoch may even come after those of a later one.
TEST_F(DurabilityTest, ACompletionThatWasOvertaken_SaysNothingOfTheLog) {
  const DurablePoint overtaken = PointNow(9);
  durability_.Truncate(LogIndex(4));
  durability_.OnDurable(PointNow(4), LogIndex(4));
  durability_.OnDurable(overtaken, LogIndex(9));
  EXPECT_EQ(durability_.index(), LogIndex(4));
}

TEST_F(DurabilityTest, WhatLiesBelowEveryCut_StandsInAnOlderEpochToo) {
  const DurablePoint before = PointNow(8);
  durability_.Truncate(LogIndex(7));
  durability_.Truncate(LogIndex(6));
  durability_.OnDurable(before, LogIndex(9));
  EXPECT_EQ(durability_.index(), LogIndex(5));
}

}  // namespace
}  // namespace millrace::raft::core

// Records with a key go where their key says; those without stay together for a while, and spread.
#include "client/core/partitioner.h"

#include <map>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "proto/record/key_hash.h"

namespace millrace::client {
namespace {

// So much goes to one partition that the next record goes to another.
constexpr size_t kAll = Partitioner::kStickyBytes;

TEST(Partitioner, SticksToAPartition_UntilEnoughBytesWentThere) {
  Partitioner partitioner(3, Random(1));
  const PartitionId first = partitioner.Pick(std::nullopt, 1);
  EXPECT_EQ(partitioner.Pick(std::nullopt, kAll - 2), first);
  EXPECT_EQ(partitioner.Pick(std::nullopt, 1), first) << "one byte was left";
  EXPECT_NE(partitioner.Pick(std::nullopt, 1), first);
}

TEST(Partitioner, WithoutAKey_NeverTakesTheSamePartitionTwiceInARow_AndTakesAllAlike) {
  constexpr uint32_t kPartitions = 5;
  constexpr int kTurns = 5000;
  Partitioner partitioner(kPartitions, Random(1));
  std::map<PartitionId, int> turns;
  PartitionId last = partitioner.Pick(std::nullopt, kAll);
  for (int i = 0; i < kTurns; ++i) {
    const PartitionId next = partitioner.Pick(std::nullopt, kAll);
    ASSERT_NE(next, last);
    ++turns[next];
    last = next;
  }
  ASSERT_EQ(turns.size(), kPartitions);
  for (const auto& [partition, count] : turns) {
    EXPECT_NEAR(count, kTurns / kPartitions, kTurns / kPartitions / 10) << partition;
  }
}

// Many clients that begin together do not all begin with the same partition.
TEST(Partitioner, ClientsBegin_WithDifferentPartitions) {
  std::set<PartitionId> first;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    first.insert(Partitioner(4, Random(seed)).Pick(std::nullopt, 1));
  }
  EXPECT_EQ(first.size(), 4u);
}

TEST(Partitioner, AKey_GoesToItsPartition_WhateverWentBefore) {
  Partitioner partitioner(7, Random(1));
  for (int i = 0; i < 100; ++i) {
    const std::string key = "key" + std::to_string(i % 10);
    EXPECT_EQ(partitioner.Pick(key, kAll), PartitionOfKey(key, 7));
    partitioner.Pick(std::nullopt, kAll);
  }
  EXPECT_EQ(partitioner.Pick("", 1), PartitionOfKey("", 7)) << "an empty key is one";
}

TEST(Partitioner, BytesWithAKey_DoNotCountForThoseWithout) {
  Partitioner partitioner(3, Random(1));
  const PartitionId first = partitioner.Pick(std::nullopt, 1);
  for (int i = 0; i < 10; ++i) partitioner.Pick("key", kAll);
  EXPECT_EQ(partitioner.Pick(std::nullopt, 1), first);
}

TEST(Partitioner, TheOnlyPartition_TakesEverything) {
  Partitioner partitioner(1, Random(1));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(partitioner.Pick(std::nullopt, kAll), PartitionId(0));
  EXPECT_EQ(partitioner.Pick("key", 1), PartitionId(0));
}

}  // namespace
}  // namespace millrace::client

#include "storage/logstore/log_progress.h"

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

std::vector<Entry> Entries(uint64_t first, uint64_t last) {
  EntryMaker maker(RaftGroupId(7));
  maker.ResetTo({.index = LogIndex(first - 1)});
  std::vector<Entry> entries;
  for (uint64_t i = first; i <= last; ++i) entries.push_back(maker.Batch(1, 10));
  return entries;
}

std::vector<uint64_t> IndexesOf(const std::vector<Entry>& entries) {
  std::vector<uint64_t> indexes;
  for (const Entry& entry : entries) indexes.push_back(entry.index.value());
  return indexes;
}

using Indexes = std::vector<uint64_t>;

TEST(LogProgress, WhatIsCommittedAndDurable_IsGivenOnce) {
  LogProgress log;
  log.Append(Entries(1, 5));
  log.Commit(LogIndex(3));
  EXPECT_EQ(log.committed(), LogIndex(0)) << "others have it, this one may lose it yet";
  log.OnDurable(LogIndex(2));
  EXPECT_EQ(log.committed(), LogIndex(2));
  EXPECT_GT(log.committed_bytes(), 0U);
  EXPECT_EQ(IndexesOf(log.GiveCommitted(LogIndex(1))), (Indexes{1}));
  EXPECT_EQ(IndexesOf(log.GiveCommitted()), (Indexes{2}));
  EXPECT_EQ(log.committed_bytes(), 0U);
  EXPECT_TRUE(log.GiveCommitted().empty());
  log.OnDurable(LogIndex(5));
  EXPECT_EQ(log.committed(), LogIndex(3));
  EXPECT_EQ(log.last(), LogIndex(5));
}

TEST(LogProgress, CommitThatComesBeforeItsEntries_CountsOnceTheyAreDurable) {
  LogProgress log;
  log.Commit(LogIndex(4));
  log.Append(Entries(1, 6));
  EXPECT_EQ(log.committed(), LogIndex(0));
  log.OnDurable(LogIndex(6));
  EXPECT_EQ(log.committed(), LogIndex(4));
  EXPECT_EQ(log.told(), LogIndex(4));
}

// What will be committed there is not what is there.
TEST(LogProgress, CommitOfWhatComesAfterATruncation_IsNotOfWhatIsCut) {
  LogProgress log;
  log.Append(Entries(1, 6));
  log.OnDurable(LogIndex(6));
  log.ExpectTruncation(LogIndex(3));
  log.Commit(LogIndex(4));
  EXPECT_EQ(log.committed(), LogIndex(2));
  EXPECT_FALSE(log.Truncate(LogIndex(3)));
  log.Append(Entries(3, 4));
  EXPECT_EQ(log.committed(), LogIndex(2));
  log.OnDurable(LogIndex(4));
  EXPECT_EQ(log.committed(), LogIndex(4));
}

TEST(LogProgress, TruncationOfWhatSegmentsHave_CutsThem) {
  LogProgress log(LogIndex(2), LogIndex(5), LogIndex(5), Entries(6, 8));
  EXPECT_FALSE(log.Truncate(LogIndex(7)));
  EXPECT_EQ(log.last(), LogIndex(6));
  EXPECT_TRUE(log.Truncate(LogIndex(4)));
  EXPECT_EQ(log.given(), LogIndex(3));
  EXPECT_EQ(log.synced(), LogIndex(3));
  EXPECT_EQ(log.journalled(), LogIndex(3));
  EXPECT_EQ(log.last(), LogIndex(3));
}

TEST(LogProgress, LargeWriteThatFailed_LeavesWhatItTookAlong) {
  LogProgress log;
  log.Append(Entries(1, 3));
  log.OnDurable(LogIndex(3));
  std::vector<Entry> taken = log.GiveAll();
  log.Append(Entries(4, 5));
  log.GiveAll();
  EXPECT_EQ(log.given(), LogIndex(5));
  log.Commit(LogIndex(2));
  log.TakeBack(std::move(taken), 2);
  EXPECT_EQ(log.given(), LogIndex(0));
  EXPECT_EQ(log.last(), LogIndex(3));
  EXPECT_GT(log.committed_bytes(), 0U);
  EXPECT_EQ(IndexesOf(log.GiveCommitted()), (Indexes{1, 2}));
}

}  // namespace
}  // namespace millrace::storage

// Large writes go straight into their segment: what the journal is told of them, what waits for
// them, and what becomes of them where that fails.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "storage/logstore/log_store.h"
#include "tests/storage/logstore/one_group.h"

namespace millrace::storage {
namespace {

constexpr char kSegment[] = "groups/2/1.0/00000000000000000001.segment";

class LargeWriteTest : public testing::Test {
 protected:
  void SetUp() override {
    rig_.options.large_write_bytes = 4 << 10;
    rig_.options.segment_size_bytes = 1 << 20;
    ASSERT_TRUE(rig_.Start().ok());
    rig_.CreateGroup(2);
    rig_.CreateGroup(3);
    rig_.Settle();
  }
  // Large, whatever the sizes that are drawn.
  void AppendLarge(uint64_t group) { rig_.Append(group, 60, 1500); }
  uint64_t InJournal() {
    uint64_t bytes = 0;
    for (const std::string& path : rig_.disk().Paths()) {
      if (!path.starts_with("journal/")) continue;
      const std::string content = *rig_.disk().Content(path);
      bytes +=
          content.size() - static_cast<uint64_t>(std::count(content.begin(), content.end(), '\0'));
    }
    return bytes;
  }
  uint64_t InSegment() { return rig_.disk().Content(kSegment).value_or("").size(); }
  void CrashAndCompare() {
    rig_.Crash(true);
    ASSERT_TRUE(rig_.Start().ok());
    ASSERT_EQ(rig_.CompareWithModel(), "");
  }

  LogStoreRig rig_{41};
};

TEST_F(LargeWriteTest, IsInTheSegmentAlone_AndThereAfterAPowerCut) {
  const uint64_t before = InJournal();
  AppendLarge(2);
  rig_.Settle();
  EXPECT_GT(InSegment(), 20'000U);
  EXPECT_LT(InJournal(), before + 1000);
  CrashAndCompare();
  EXPECT_EQ(rig_.Recovered(2)->initial.log.last_index(), LogIndex(60));
  EXPECT_EQ(rig_.Recovered(2)->initial.commit_index, LogIndex(0));
}

TEST_F(LargeWriteTest, TakesAlongWhatIsInTheJournalAlone) {
  rig_.Append(2, 1, 300);
  rig_.Settle();
  EXPECT_EQ(InSegment(), 0U);
  AppendLarge(2);
  rig_.Settle();
  while (rig_.committed(2) < 61) rig_.Commit(2);
  rig_.RunFor(std::chrono::milliseconds(50));
  EXPECT_EQ(rig_.CompareSegments(2), "");
  EXPECT_EQ(rig_.store().readable_end(RaftGroupId(2)), LogIndex(61));
  CrashAndCompare();
}

// A vote that comes meanwhile, and small entries: all in their order.
TEST_F(LargeWriteTest, WhatComesMeanwhile_Waits_AndIsDurableAfterIt) {
  rig_.disk().Stall();
  AppendLarge(2);
  rig_.SetTerm(2, 7);
  rig_.Append(2, 1, 100);
  AppendLarge(2);
  rig_.RunFor(std::chrono::milliseconds(50));
  rig_.disk().Resume();
  rig_.Settle();
  CrashAndCompare();
  EXPECT_EQ(rig_.Recovered(2)->initial.log.last_index(), LogIndex(121));
  EXPECT_EQ(rig_.Recovered(2)->initial.hard_state.term, Term(7));
}

TEST_F(LargeWriteTest, ThatFindsNoRoom_GoesIntoTheJournal) {
  rig_.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2",
                       ResourceExhausted("No space left on device", Reason::kDiskFull));
  AppendLarge(2);
  rig_.Settle();
  EXPECT_EQ(rig_.stalled().size(), 1U);
  EXPECT_GT(InJournal(), 20'000U);
  rig_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig_.stalled().empty());
  AppendLarge(2);
  rig_.Settle();
  CrashAndCompare();
  EXPECT_EQ(rig_.Recovered(2)->initial.log.last_index(), LogIndex(120));
}

// What it had synced before is in no other place.
TEST_F(LargeWriteTest, WhoseSyncFails_LeavesTheOnesBefore) {
  AppendLarge(2);
  rig_.Settle();
  rig_.disk().FailNextSync("groups/2");
  AppendLarge(2);
  rig_.Settle();
  EXPECT_EQ(rig_.stalled().size(), 1U);
  while (rig_.committed(2) < 120) rig_.Commit(2);
  rig_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig_.stalled().empty());
  EXPECT_EQ(rig_.CompareSegments(2), "");
  CrashAndCompare();
  EXPECT_EQ(rig_.Recovered(2)->initial.log.last_index(), LogIndex(120));
}

TEST_F(LargeWriteTest, ThatIsTruncated_DoesNotComeBack_WheneverTheMachineDies) {
  for (uint64_t operation = 1; operation <= 25; ++operation) {
    LogStoreRig rig(50 + operation);
    rig.options.large_write_bytes = 4 << 10;
    ASSERT_TRUE(rig.Start().ok());
    rig.CreateGroup(2);
    rig.Append(2, 60, 1500);
    rig.Settle();
    rig.disk().CrashAtOperation(operation, [&] { rig.Crash(false); });
    rig.Rewrite(2, 2);
    rig.Settle();
    if (rig.is_alive()) rig.Append(2, 60, 1500);
    rig.Settle();
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok());
    ASSERT_EQ(rig.CompareWithModel(), "") << operation;
  }
}

// Each has a sync of its own; the journal's is for all.
TEST_F(LargeWriteTest, ManyAtOnce_GoIntoTheJournal) {
  rig_.Crash(false);
  rig_.options.large_writes_max = 1;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  AppendLarge(2);
  AppendLarge(3);
  rig_.Settle();
  EXPECT_GT(InSegment(), 20'000U);
  EXPECT_FALSE(rig_.disk().Content("groups/3/1.0/00000000000000000001.segment").has_value());
  CrashAndCompare();
}

// Two followers that are full refuse what would let the leader commit: nobody would ever have room.
TEST_F(LargeWriteTest, WhatNobodyCommits_LeavesTheJournal) {
  rig_.Crash(false);
  rig_.options.large_write_bytes = 1 << 30;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  while (rig_.store().journal_pressure() <= 1.2) {
    rig_.Append(2, 5, 1500);
    rig_.Append(3, 5, 1500);
    rig_.Settle();
  }
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_LT(rig_.store().journal_pressure(), 1);
  CrashAndCompare();
  // As full as it was left, for a start too.
  rig_.options.large_writes_max = 0;
  rig_.Crash(false);
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  while (rig_.store().journal_pressure() <= 1.2) {
    rig_.Append(2, 5, 1500);
    rig_.Settle();
  }
  rig_.Crash(false);
  rig_.options.large_writes_max = 16;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_LT(rig_.store().journal_pressure(), 1);
}

TEST_F(LargeWriteTest, OfARemovedReplica_IsToldAllTheSame) {
  rig_.disk().Stall();
  AppendLarge(2);
  AppendLarge(2);
  rig_.RemoveGroup(2);
  rig_.RunFor(std::chrono::milliseconds(50));
  rig_.disk().Resume();
  rig_.Settle();
  CrashAndCompare();
}

TEST_F(LargeWriteTest, SegmentIsRolled_WhileLargeWritesGoOn) {
  rig_.Crash(false);
  rig_.options.segment_size_bytes = 64 << 10;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  for (int i = 0; i < 30; ++i) {
    AppendLarge(2);
    rig_.Settle();
    rig_.Commit(2);
  }
  rig_.RunFor(std::chrono::milliseconds(200));
  EXPECT_GT(Files(rig_).size(), 5U);
  CrashAndCompare();
  EXPECT_TRUE(rig_.Recovered(2)->snapshot.has_value());
}

// What goes into the next segment counts on the journal's word that the last one is sealed.
TEST_F(LargeWriteTest, NextSegment_IsThere_WheneverTheMachineDies) {
  for (uint64_t operation = 1; operation <= 150; ++operation) {
    LogStoreRig rig(500 + operation);
    rig.options.large_write_bytes = 1 << 10;
    rig.options.segment_size_bytes = 8 << 10;
    // What is committed is told to the journal at about the time of the roll.
    rig.options.write_delay = std::chrono::microseconds(50);
    ASSERT_TRUE(rig.Start().ok());
    rig.CreateGroup(2);
    rig.Settle();
    rig.disk().CrashAtOperation(operation, [&] { rig.Crash(false); });
    while (rig.is_alive()) {
      rig.Append(2, 8, 1500);
      rig.Settle();
      if (rig.is_alive()) rig.Commit(2);
      if (rig.is_alive() && rig.random().OneIn(2)) rig.RunFor(std::chrono::microseconds(200));
    }
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok());
    ASSERT_EQ(rig.CompareWithModel(), "") << operation;
  }
}

TEST_F(LargeWriteTest, NextSegment_WaitsForTheJournalsWord) {
  rig_.Crash(false);
  rig_.options.segment_size_bytes = 16 << 10;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  AppendLarge(2);
  rig_.Settle();
  rig_.HoldJournal();
  while (rig_.committed(2) < 60) rig_.Commit(2);
  rig_.RunFor(std::chrono::milliseconds(50));
  AppendLarge(2);
  rig_.RunFor(std::chrono::milliseconds(50));
  CrashAndCompare();
}

}  // namespace
}  // namespace millrace::storage

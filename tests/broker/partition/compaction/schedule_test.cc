// When a pass of compaction is due, and what it says.
#include "broker/partition/compaction/schedule.h"

#include <gtest/gtest.h>

#include "tests/broker/partition/sealed_segments.h"

namespace millrace::broker {
namespace {

constexpr int64_t kNow = 1'000'000;
constexpr CompactionSettings kHalf{.is_compacted = true, .tombstone_retention_ms = 10'000};

TEST(Schedule, NothingIsDue_WithoutASealedSegment) {
  EXPECT_FALSE(DuePass({}, {}, kHalf, {0, kNow}).has_value());
}

TEST(Schedule, TheFirstPass_TakesAllThatIsSealed) {
  const auto due = DuePass(Segments(3), {}, kHalf, {0, kNow});
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->pass, 1U);
  EXPECT_EQ(due->clean_to, Offset(60));
  EXPECT_EQ(due->clean_from, Offset(0));
  EXPECT_EQ(due->tombstones_below, Offset(0)) << "nobody has cleaned anything";
}

TEST(Schedule, TheNext_OnceEnoughIsDirty) {
  const CompactionState state{.pass = 4, .clean_to = Offset(60)};
  EXPECT_FALSE(DuePass(Segments(5), state, kHalf, {0, std::nullopt}).has_value()) << "2 of 5";
  const auto due = DuePass(Segments(6), state, kHalf, {0, std::nullopt});
  ASSERT_TRUE(due.has_value()) << "3 of 6";
  EXPECT_EQ(due->clean_to, Offset(120));
  EXPECT_EQ(due->clean_from, Offset(60));
  EXPECT_EQ(due->older_than_ms, 0) << "no tombstone goes by a clock in doubt";
  CompactionSettings eager = kHalf;
  eager.dirty_ratio_min_ppm = 0;
  EXPECT_TRUE(DuePass(Segments(4), state, eager, {0, kNow}).has_value());
  EXPECT_FALSE(DuePass(Segments(3), state, eager, {0, kNow}).has_value()) << "nothing is dirty";
}

TEST(Schedule, WhatIsTooYoung_IsLeftAlone) {
  CompactionSettings settings = kHalf;
  settings.compaction_lag_min_ms = 3000;
  const auto due = DuePass(Segments(6), {}, settings, {0, 5001});
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->clean_to, Offset(40)) << "of 1 s and 2 s";
  EXPECT_FALSE(DuePass(Segments(6), {}, settings, {0, 4000}).has_value());
  EXPECT_FALSE(DuePass(Segments(6), {}, settings, {0, std::nullopt}).has_value());
}

TEST(Schedule, WhereATransactionIsOpen_APassGoesNoFurther) {
  EXPECT_FALSE(DuePass(Segments(6), {}, kHalf, {0, kNow, Offset(19)}).has_value());
  CompactionSettings eager = kHalf;
  eager.dirty_ratio_min_ppm = 0;
  const auto due = DuePass(Segments(6), {}, eager, {0, kNow, Offset(59)});
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->clean_to, Offset(40));
}

// tombstone_before_all
TEST(Schedule, TombstonesGo_OnlyBelowWhatAllMembersHaveDone) {
  const CompactionState state{
      .pass = 4, .clean_to = Offset(60), .settled = 2, .tombstones_below = Offset(20)};
  const auto early = DuePass(Segments(6), state, kHalf, {3, kNow});
  ASSERT_TRUE(early.has_value());
  EXPECT_EQ(early->settled, 2U);
  EXPECT_EQ(early->tombstones_below, Offset(20)) << "one of them has not done the fourth";
  const auto due = DuePass(Segments(6), state, kHalf, {4, kNow});
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->settled, 4U);
  EXPECT_EQ(due->tombstones_below, Offset(60));
  EXPECT_EQ(due->older_than_ms, kNow - 10'000);
}

TEST(Schedule, WhereNothingIsWritten_APassIsForTombstonesAlone_OnceTheyAreOld) {
  CompactionState state{.pass = 4, .clean_to = Offset(60), .settled = 3};
  // The newest of them was appended at 3 s at the latest.
  EXPECT_FALSE(DuePass(Segments(3), state, kHalf, {4, 13'000}).has_value());
  EXPECT_FALSE(DuePass(Segments(3), state, kHalf, {3, 13'001}).has_value());
  const auto due = DuePass(Segments(3), state, kHalf, {4, 13'001});
  ASSERT_TRUE(due.has_value());
  EXPECT_EQ(due->clean_to, Offset(60));
  EXPECT_EQ(due->tombstones_below, Offset(60));
  EXPECT_EQ(due->older_than_ms, 3'001);
  EXPECT_FALSE(DuePass(Segments(3), *due, kHalf, {5, kNow}).has_value()) << "and then no more";
}

}  // namespace
}  // namespace millrace::broker

// Which segments retention lets go.
#include "broker/partition/retention.h"

#include <gtest/gtest.h>

#include "tests/broker/partition/sealed_segments.h"

namespace millrace::broker {
namespace {

constexpr int64_t kNow = 1'000'000;

TEST(Retention, WithoutLimits_NothingGoes) {
  EXPECT_EQ(RetainedFrom(Segments(5), {}, kNow), Offset(0));
  EXPECT_EQ(RetainedFrom({}, {.bytes = 1, .time_ms = 1}, kNow), Offset(0));
}

TEST(Retention, BySize_TheNewestStay_ThatTogetherFit) {
  EXPECT_EQ(RetainedFrom(Segments(5), {.bytes = 500}, kNow), Offset(0));
  EXPECT_EQ(RetainedFrom(Segments(5), {.bytes = 499}, kNow), Offset(20));
  EXPECT_EQ(RetainedFrom(Segments(5), {.bytes = 200}, kNow), Offset(60));
  EXPECT_EQ(RetainedFrom({}, {.bytes = 99}, kNow), Offset(0));
}

// As where a leader did not know its topic's settings when it had to be ended.
TEST(Retention, OneThatIsTooLarge_GoesOnceEnoughIsBehindIt) {
  EXPECT_EQ(RetainedFrom(Segments(5), {.bytes = 99}, kNow), Offset(80)) << "not all";
  std::deque<raft::SealedSegment> sealed = Segments(8);
  sealed[4].bytes = 1000;
  EXPECT_EQ(RetainedFrom(sealed, {.bytes = 500}, kNow), Offset(80)) << "300 behind it";
  sealed[4].bytes = 100;
  sealed[3].bytes = 1000;
  EXPECT_EQ(RetainedFrom(sealed, {.bytes = 500}, kNow), Offset(80)) << "400 behind it";
}

TEST(Retention, ByTime_TheyGo_OnceTheNewestEntryIsOlder) {
  const RetentionLimits second{.time_ms = 1000};
  EXPECT_EQ(RetainedFrom(Segments(5), second, 2000), Offset(0));
  EXPECT_EQ(RetainedFrom(Segments(5), second, 2001), Offset(20));
  EXPECT_EQ(RetainedFrom(Segments(5), second, 4500), Offset(60));
  EXPECT_EQ(RetainedFrom(Segments(5), second, kNow), Offset(100));
}

TEST(Retention, WhatWasAppendedByAClockThatWasAhead_StaysUntilThen) {
  std::deque<raft::SealedSegment> sealed = Segments(3);
  sealed[1].last_append_ms = sealed[2].last_append_ms = kNow * 2;
  EXPECT_EQ(RetainedFrom(sealed, {.time_ms = 1}, kNow), Offset(20));
  EXPECT_EQ(RetainedFrom(sealed, {.time_ms = 1}, kNow * 2 + 2), Offset(60));
}

TEST(Retention, WithoutAClock_OnlyTheSizeCounts) {
  const RetentionLimits both{.bytes = 400, .time_ms = 1};
  EXPECT_EQ(RetainedFrom(Segments(5), both, std::nullopt), Offset(20));
  EXPECT_EQ(RetainedFrom(Segments(5), both, kNow), Offset(100));
}

}  // namespace
}  // namespace millrace::broker

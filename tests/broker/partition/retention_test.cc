// Which segments retention lets go.
#include "broker/partition/retention.h"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr LogIndex kAll{UINT64_MAX};
constexpr int64_t kNow = 1'000'000;

// Segments of 100 bytes, 10 entries and 20 records each, the first one's last append at 1 s, the
// next one's at 2 s and so on.
std::deque<raft::SealedSegment> Segments(uint64_t count) {
  std::deque<raft::SealedSegment> sealed;
  for (uint64_t i = 0; i < count; ++i) {
    const auto records = static_cast<int64_t>(20 * i);
    sealed.push_back({.end = {.index = LogIndex(10 * (i + 1)), .next_offset = Offset(records + 20)},
                      .base_offset = Offset(records),
                      .bytes = 100,
                      .last_append_ms = static_cast<int64_t>(1000 * (i + 1)),
                      .has_state = true});
  }
  return sealed;
}

TEST(Retention, WithoutLimits_NothingGoes) {
  EXPECT_EQ(Retain(Segments(5), {}, kNow, kAll).start, Offset(0));
  EXPECT_EQ(Retain({}, {.bytes = 1, .time_ms = 1}, kNow, kAll).start, Offset(0));
}

TEST(Retention, BySize_TheNewestStay_ThatTogetherFit) {
  EXPECT_EQ(Retain(Segments(5), {.bytes = 500}, kNow, kAll).start, Offset(0));
  EXPECT_EQ(Retain(Segments(5), {.bytes = 499}, kNow, kAll).start, Offset(20));
  EXPECT_EQ(Retain(Segments(5), {.bytes = 200}, kNow, kAll).start, Offset(60));
  EXPECT_EQ(Retain(Segments(5), {.bytes = 99}, kNow, kAll).start, Offset(100)) << "all";
}

TEST(Retention, ByTime_TheyGo_OnceTheNewestEntryIsOlder) {
  const RetentionLimits second{.time_ms = 1000};
  EXPECT_EQ(Retain(Segments(5), second, 2000, kAll).start, Offset(0));
  EXPECT_EQ(Retain(Segments(5), second, 2001, kAll).start, Offset(20));
  EXPECT_EQ(Retain(Segments(5), second, 4500, kAll).start, Offset(60));
  EXPECT_EQ(Retain(Segments(5), second, kNow, kAll).start, Offset(100));
}

TEST(Retention, WhatWasAppendedByAClockThatWasAhead_StaysUntilThen) {
  std::deque<raft::SealedSegment> sealed = Segments(3);
  sealed[1].last_append_ms = sealed[2].last_append_ms = kNow * 2;
  EXPECT_EQ(Retain(sealed, {.time_ms = 1}, kNow, kAll).start, Offset(20));
  EXPECT_EQ(Retain(sealed, {.time_ms = 1}, kNow * 2 + 2, kAll).start, Offset(60));
}

TEST(Retention, WithoutAClock_OnlyTheSizeCounts) {
  const RetentionLimits both{.bytes = 400, .time_ms = 1};
  EXPECT_EQ(Retain(Segments(5), both, std::nullopt, kAll).start, Offset(20));
  EXPECT_EQ(Retain(Segments(5), both, kNow, kAll).start, Offset(100));
}

TEST(Retention, WhatSomebodyLacks_Stays) {
  const RetentionLimits small{.bytes = 100};
  const Retained held = Retain(Segments(5), small, kNow, LogIndex(29));
  EXPECT_EQ(held.start, Offset(40));
  EXPECT_TRUE(held.is_held_up);
  EXPECT_FALSE(Retain(Segments(5), small, kNow, LogIndex(40)).is_held_up);
  EXPECT_FALSE(Retain(Segments(5), {}, kNow, LogIndex(0)).is_held_up) << "nothing is to go";
}

}  // namespace
}  // namespace millrace::broker

// Where a time is first reached, against a scan of all entries.

#include "broker/partition/time_index.h"

#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::broker {
namespace {

struct Noted {
  LogIndex index;
  int64_t timestamp_ms = 0;
};

// The first that reaches the time; null if none does.
const Noted* FirstSince(const std::vector<Noted>& all, int64_t timestamp_ms) {
  for (const Noted& noted : all) {
    if (noted.timestamp_ms >= timestamp_ms) return &noted;
  }
  return nullptr;
}

TEST(TimeIndex, AnEmptyOne_FindsNothing) { EXPECT_FALSE(TimeIndex().Find(0).has_value()); }

TEST(TimeIndex, FindsAShortStretch_WithTheFirstEntryThatReachesATime_InAnyOrderOfTimes) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    Random random(seed);
    TimeIndex index;
    std::vector<Noted> all;
    LogIndex at(1);
    for (int i = 0; i < 1000; ++i) {
      at = at + random.Between(1, 3);  // other entries hold no records
      all.push_back({at, static_cast<int64_t>(random.Below(100) + static_cast<uint64_t>(i) / 5)});
      index.Add(at, all.back().timestamp_ms);
    }
    for (int64_t time = 0; time < 320; ++time) {
      const Noted* first = FirstSince(all, time);
      const std::optional<TimeIndex::Stretch> found = index.Find(time);
      ASSERT_EQ(found.has_value(), first != nullptr) << time;
      if (first == nullptr) continue;
      EXPECT_LT(found->after, first->index) << time;
      EXPECT_GE(found->last, first->index) << time;
      EXPECT_LE(found->last.value() - found->after.value(), 3 * TimeIndex::kEntriesPerPoint);
    }
  }
}

TEST(TimeIndex, WhatIsDropped_TakesNoMemory_AndTheRestIsFoundAsBefore) {
  TimeIndex index;
  for (uint64_t i = 1; i <= 10'000; ++i) {
    index.Add(LogIndex(i), static_cast<int64_t>(i));
    index.DropBefore(LogIndex(i < 200 ? 1 : i - 199));
    ASSERT_LE(index.size(), 6u);
  }
  const std::optional<TimeIndex::Stretch> found = index.Find(9'900);
  ASSERT_TRUE(found.has_value());
  EXPECT_LT(found->after, LogIndex(9'900));
  EXPECT_GE(found->last, LogIndex(9'900));
  index.DropBefore(LogIndex(10'001));
  EXPECT_FALSE(index.Find(1).has_value());
  index.Add(LogIndex(10'001), 5);
  EXPECT_EQ(index.Find(5)->last, LogIndex(10'001));
}

}  // namespace
}  // namespace millrace::broker

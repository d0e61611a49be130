#include "broker/partition/void_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/partition/compaction/void_filter.h"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

VoidRange Range(uint64_t producer, int64_t first, int64_t end) {
  return {.producer = ProducerId(producer), .first = Offset(first), .end = Offset(end)};
}

TEST(VoidRanges, AreFound_WhereverAPartOfThemLies) {
  VoidRanges ranges;
  ranges.Add(LogIndex(1), Range(1, 5, 10), LogIndex());
  ranges.Add(LogIndex(2), Range(2, 2, 20), LogIndex());
  EXPECT_THAT(ranges.Overlapping(Offset(0), Offset(2)), IsEmpty());
  EXPECT_THAT(ranges.Overlapping(Offset(0), Offset(3)), ElementsAre(Range(2, 2, 20)));
  EXPECT_THAT(ranges.Overlapping(Offset(9), Offset(10)),
              ElementsAre(Range(1, 5, 10), Range(2, 2, 20)));
  EXPECT_THAT(ranges.Overlapping(Offset(10), Offset(11)), ElementsAre(Range(2, 2, 20)));
  EXPECT_THAT(ranges.Overlapping(Offset(20), Offset(30)), IsEmpty());
  EXPECT_TRUE(ranges.KnowsAllBehind(Offset(0)));
}

TEST(VoidRanges, TheOldestGo_OnceSegmentsHaveThem_AndThatIsKnown) {
  VoidRanges ranges;
  const auto kept = static_cast<int64_t>(kVoidRangesKept);
  for (int64_t i = 1; i <= kept + 10; ++i) {
    ranges.Add(LogIndex(static_cast<uint64_t>(i)), Range(1, i - 1, i), LogIndex(4));
  }
  EXPECT_FALSE(ranges.KnowsAllBehind(Offset(3)));
  EXPECT_TRUE(ranges.KnowsAllBehind(Offset(4)));
  EXPECT_THAT(ranges.Overlapping(Offset(0), Offset(6)),
              ElementsAre(Range(1, 4, 5), Range(1, 5, 6)));
  ranges.Clear(Offset(100));
  EXPECT_FALSE(ranges.KnowsAllBehind(Offset(99)));
  EXPECT_THAT(ranges.Overlapping(Offset(0), Offset(1000)), IsEmpty());
}

TEST(VoidFilter, LeavesOutABatch_OfATransaction_InARangeOfItsProducer) {
  const VoidFilter filter({Range(2, 10, 20), Range(1, 0, 5), Range(2, 10, 20), Range(2, 30, 31)});
  const auto is_void = [&filter](uint64_t producer, int64_t offset, uint64_t number = 1) {
    return filter.IsVoid({.base_offset = Offset(offset),
                          .producer_id = ProducerId(producer),
                          .transaction_number = number});
  };
  EXPECT_TRUE(is_void(1, 0));
  EXPECT_TRUE(is_void(1, 4));
  EXPECT_FALSE(is_void(1, 5));
  EXPECT_FALSE(is_void(2, 9));
  EXPECT_TRUE(is_void(2, 10));
  EXPECT_TRUE(is_void(2, 19));
  EXPECT_FALSE(is_void(2, 25));
  EXPECT_TRUE(is_void(2, 30));
  EXPECT_FALSE(is_void(3, 12));
  EXPECT_FALSE(is_void(2, 12, 0)) << "it is of no transaction";
}

}  // namespace
}  // namespace millrace::broker

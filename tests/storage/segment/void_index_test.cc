// What markers make void, as segments know it: from the frames alone, through seals, restarts and
// damage.
#include "storage/segment/void_index.h"

#include <optional>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

VoidRange Range(uint64_t producer, int64_t first, int64_t end) {
  return {.producer = ProducerId(producer), .first = Offset(first), .end = Offset(end)};
}

std::vector<VoidRange> Overlapping(const VoidIndex& index, Offset first, Offset end) {
  std::vector<VoidRange> found;
  index.AddOverlapping(first, end, &found);
  return found;
}

TEST(VoidIndex, FindsWhatAScanFinds_AndAFooterHasItAll) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    VoidIndex index;
    std::vector<VoidRange> all;
    int64_t end = 1;
    for (int i = 0; i < 50; ++i) {
      end += static_cast<int64_t>(random.Below(5));
      const auto reach = static_cast<int64_t>(random.Between(1, static_cast<uint64_t>(end)));
      all.push_back(Range(random.Between(1, 3), end - (random.OneIn(9) ? reach : 1), end));
      index.Add(all.back());
    }
    internal::v1::SegmentFooter footer;
    index.SaveTo(&footer);
    const Result<VoidIndex> loaded = VoidIndex::LoadFrom(footer);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(*loaded, index);
    for (int i = 0; i < 50; ++i) {
      const Offset from(static_cast<int64_t>(random.Below(static_cast<uint64_t>(end))));
      const Offset to = from + static_cast<int64_t>(random.Between(1, 10));
      std::vector<VoidRange> expected;
      for (const VoidRange& range : all) {
        if (range.Overlaps(from, to)) expected.push_back(range);
      }
      EXPECT_EQ(Overlapping(index, from, to), expected) << "seed " << seed;
    }
  }
}

TEST(VoidIndex, AFooterThatContradictsItself_IsDataLoss) {
  VoidIndex index;
  index.Add(Range(1, 3, 5));
  internal::v1::SegmentFooter footer;
  index.SaveTo(&footer);
  const auto expect_refused = [&footer](auto change) {
    internal::v1::SegmentFooter changed = footer;
    change(changed.mutable_void_ranges());
    EXPECT_EQ(VoidIndex::LoadFrom(changed).status().code(), Code::kDataLoss);
  };
  expect_refused([](auto* ranges) { ranges->add_reaches(1); });
  expect_refused([](auto* ranges) { ranges->add_end_steps(1); });
  expect_refused([](auto* ranges) { ranges->set_reaches(0, 0); });
  expect_refused([](auto* ranges) { ranges->set_reaches(0, 6); });
  expect_refused([](auto* ranges) { ranges->set_end_steps(0, uint64_t{1} << 63); });
}

TEST(VoidRange, ThatWouldBeginBeforeTheLog_IsNone) {
  FrameHeader marker{.type = FrameType::kTransactionMarker,
                     .base_offset = Offset(5),
                     .producer_id = ProducerId(1),
                     .transaction_number = 1,
                     .reach = 5};
  EXPECT_EQ(VoidRangeOf(marker), Range(1, 0, 5));
  for (const uint64_t reach : {uint64_t{0}, uint64_t{6}, UINT64_MAX}) {
    marker.reach = reach;
    EXPECT_EQ(VoidRangeOf(marker), std::nullopt) << reach;
  }
}

// A transaction that is aborted three segments later: rule 76.
TEST(SegmentVoidRanges, Rule76_AreToldBySegmentsOfTheirMarkers_WhereverTheyBegan) {
  SegmentRig rig(1);
  rig.Append(rig.maker.Batch(3, 100));
  rig.Seal("state");
  rig.Append(rig.maker.Batch(3, 100));
  rig.Append(rig.maker.Marker(ProducerId(2), 0));
  rig.Seal("state");
  rig.Append(rig.maker.Batch(3, 100));
  rig.Append(rig.maker.Marker(ProducerId(1), 8));
  rig.Append(rig.maker.Batch(1, 100));
  rig.Append(rig.maker.Marker(ProducerId(3), 1));
  const auto expect_all = [&rig] {
    EXPECT_THAT(*rig.VoidRangesOf(0, 1), IsEmpty());
    EXPECT_THAT(*rig.VoidRangesOf(1, 2), ElementsAre(Range(1, 1, 9)));
    EXPECT_THAT(*rig.VoidRangesOf(8, 9), ElementsAre(Range(1, 1, 9)));
    EXPECT_THAT(*rig.VoidRangesOf(0, 10), ElementsAre(Range(1, 1, 9), Range(3, 9, 10)));
  };
  expect_all();
  LogPoint end = rig.Sync();
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(end).ok());
  expect_all();
  end = rig.Seal("state");
  expect_all();
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(end).ok());
  expect_all();
  EXPECT_THAT(rig.Verify(end).faults, IsEmpty());
}

TEST(SegmentVoidRanges, Rule76_OfASegmentThatIsDamaged_NobodyIsToldThatThereAreNone) {
  SegmentRig rig(2);
  rig.Append(rig.maker.Batch(3, 100));
  rig.Seal("state");
  rig.Append(rig.maker.Batch(3, 100));
  rig.Append(rig.maker.Marker(ProducerId(1), 6));
  rig.Seal("state");
  rig.Append(rig.maker.Batch(3, 100));
  const LogPoint end = rig.Sync();
  const std::string path = rig.Files()[1];
  rig.disk.FlipBit(path, rig.disk.Content(path)->size() - 40, 3);
  rig.Restart(true);
  EXPECT_EQ(rig.RecoverDamaged(end).code(), Code::kDataLoss);
  EXPECT_EQ(rig.VoidRangesOf(0, 1).status().code(), Code::kDataLoss);
  EXPECT_THAT(*rig.VoidRangesOf(6, 9), IsEmpty()) << "what lies behind it is known";
}

}  // namespace
}  // namespace millrace::storage

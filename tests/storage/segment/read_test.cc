// Reading entries back by index and by offset, at every boundary of entries, index points and
// segments.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

FrameHeader HeaderOf(const Entry& entry) { return ParseFrameHeader(entry.frame.view()).value(); }

TEST(SegmentRead, ByIndex_FindsEveryEntry_InSealedAndActiveSegments) {
  SegmentRig rig(1);
  rig.Fill(3, 12, 20'000);  // several index points in each
  rig.ExpectAllReadable(48);
}

TEST(SegmentRead, ByIndex_FindsEveryEntry_AfterARestart) {
  SegmentRig rig(2);
  const LogPoint end = rig.Fill(3, 12, 20'000);
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(end).ok());
  rig.ExpectAllReadable(48);
}

TEST(SegmentRead, ByIndex_IsOutOfRange_BeyondBothEnds) {
  SegmentRig rig(3);
  EXPECT_EQ(rig.Read(1, 100).status().code(), Code::kOutOfRange);
  rig.Fill(1, 3, 10);
  EXPECT_EQ(rig.Read(0, 100).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig.Read(7, 100).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig.ReadFromOffset(rig.maker.end().next_offset.value(), 100).status().code(),
            Code::kOutOfRange);
}

TEST(SegmentRead, ByOffset_BeginsWithTheEntryThatHoldsIt) {
  SegmentRig rig(4);
  const LogPoint end = rig.Fill(2, 12, 20'000);
  for (int64_t offset = 0; offset < end.next_offset.value(); ++offset) {
    const auto read = rig.ReadFromOffset(offset, 1);
    ASSERT_TRUE(read.ok()) << offset << " " << read.status();
    const FrameHeader header = HeaderOf(read->front());
    EXPECT_LE(header.base_offset, Offset(offset));
    EXPECT_GT(header.base_offset + header.offset_span, Offset(offset));
  }
}

TEST(SegmentRead, Budget_IsKept_ButTheFirstEntryAlwaysPasses) {
  SegmentRig rig(5);
  for (int i = 0; i < 5; ++i) rig.Append(rig.maker.Batch(1, 72));  // 200 bytes each
  ASSERT_EQ(rig.entries.front().frame.size(), 200U);
  for (const auto& [budget, expected] : {std::pair<uint64_t, size_t>{0, 1},
                                         {1, 1},
                                         {399, 1},
                                         {400, 2},
                                         {999, 4},
                                         {1000, 5},
                                         {UINT64_MAX, 5}}) {
    EXPECT_EQ(rig.Read(1, budget)->size(), expected) << budget;
  }
}

TEST(SegmentRead, NoMoreIsReadThanIsGiven) {
  SegmentRig rig(61);
  rig.Fill(0, 8, 100 << 10);
  const uint64_t entry = rig.entries[2].size_bytes();
  for (const uint64_t asked : {uint64_t{1}, entry, 2 * entry - 1, 3 * entry}) {
    const uint64_t before = rig.disk.bytes_read();
    const auto read = rig.Read(3, asked);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->size(), std::max<uint64_t>(1, asked / entry));
    EXPECT_EQ(rig.disk.bytes_read() - before, read->size() * entry) << asked;
  }
}

TEST(SegmentRead, EntryLargerThanAPiece_IsReadWhole) {
  SegmentRig rig(6);
  rig.Append(rig.maker.Batch(1, 100));
  rig.Append(rig.maker.Batch(1, 5 << 20));
  rig.Append(rig.maker.Batch(1, 100));
  rig.ExpectAllReadable(3);
}

TEST(SegmentRead, FileThatBecameShorter_IsDataLossNamingIt) {
  SegmentRig rig(7);
  rig.Fill(1, 4, 1000);
  rig.disk.TruncateFile(SegmentPath(SegmentRig::kFolder, LogIndex(1)), 600);
  const auto read = rig.Read(4, 100);
  EXPECT_EQ(read.status().code(), Code::kDataLoss);
  EXPECT_NE(read.status().message().find("00000000000000000001.segment"), std::string::npos);
}

TEST(SegmentRead, EntriesBeforeTheDamage_AreGiven_AndThenTheDamage) {
  SegmentRig rig(8);
  for (int i = 0; i < 4; ++i) rig.Append(rig.maker.Batch(1, 72));
  rig.Seal("s");
  rig.disk.FlipBit(SegmentPath(SegmentRig::kFolder, LogIndex(1)),
                   sizeof(SegmentHeader) + 200 * 2 + 150, 1);
  EXPECT_EQ(rig.Read(1, 10'000)->size(), 2U);
  EXPECT_EQ(rig.Read(3, 10'000).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::storage

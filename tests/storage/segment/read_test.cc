// Reading entries back by index and by offset, at every boundary of entries, index points and
// segments.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/core/gap_entry.h"
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

TEST(SegmentRead, ByOffset_IsFoundBehindSegmentsThatHoldNoRecords_AndBeforeThem) {
  SegmentRig rig(15);
  rig.Append(rig.maker.Batch(2, 10));
  rig.Seal("s");
  for (int i = 0; i < 2; ++i) {
    rig.Append(rig.maker.NoOp());
    rig.Seal("s");
  }
  rig.Append(rig.maker.Batch(2, 10));
  rig.Seal("s");
  rig.Append(rig.maker.NoOp());
  for (const auto& [offset, index] : std::map<int64_t, size_t>{{0, 1}, {1, 1}, {2, 4}, {3, 4}}) {
    const auto read = rig.ReadFromOffset(offset, 1);
    ASSERT_TRUE(read.ok()) << offset << " " << read.status();
    EXPECT_EQ(read->front().index, LogIndex(index)) << offset;
  }
  EXPECT_EQ(rig.ReadFromOffset(4, 1).status().code(), Code::kOutOfRange);
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

// What compaction left nothing of: `count` entries of one term with a record each.
Entry Gap(EntryMaker* maker, int count) {
  const LogPoint before = maker->end();
  for (int i = 0; i < count; ++i) maker->Batch(1, 72);
  const LogPoint end = maker->end();
  return raft::core::GapEntry({.group = SegmentRig::kGroup,
                               .term = end.term,
                               .first = before.index + 1,
                               .last = end.index,
                               .base_offset = before.next_offset,
                               .offset_span = static_cast<uint32_t>(count),
                               .append_time_ms = 0,
                               .chain = end.chain});
}

std::vector<LogIndex> IndexesOf(const std::vector<Entry>& entries) {
  std::vector<LogIndex> indexes;
  for (const Entry& entry : entries) indexes.push_back(entry.index);
  return indexes;
}

TEST(SegmentRead, ByOffset_WhatTakesNoOffsets_CountsForNothing_AndIsNotGiven) {
  SegmentRig rig(62);
  for (int i = 0; i < 3; ++i) {
    rig.Append(rig.maker.Batch(1, 72));  // 200 bytes
    rig.Append(rig.maker.NoOp());
  }
  EXPECT_EQ(IndexesOf(*rig.ReadFromOffset(0, 400)), (std::vector{LogIndex(1), LogIndex(3)}));
  EXPECT_EQ(IndexesOf(*rig.Read(1, 400)), (std::vector{LogIndex(1), LogIndex(2)}))
      << "who reads the log reads all of it";
}

TEST(SegmentRead, ByOffset_ABatchBehindAGap_PassesWhateverItsSize) {
  SegmentRig rig(63);
  rig.Append(Gap(&rig.maker, 3));
  rig.Append(rig.maker.Batch(1, 200 << 10));
  rig.Append(rig.maker.Batch(1, 200 << 10));
  EXPECT_EQ(IndexesOf(*rig.ReadFromOffset(1, 1000)), (std::vector{LogIndex(1), LogIndex(4)}));
}

TEST(SegmentRead, ByOffset_AStretchWithoutBatches_IsPassedInTwoReads_NotReadAllThrough) {
  SegmentRig rig(64);
  rig.Append(rig.maker.Batch(1, 72));
  rig.Append(Gap(&rig.maker, 1));
  for (int i = 0; i < 40'000; ++i) rig.Append(rig.maker.NoOp());  // 5 MB
  rig.Append(rig.maker.Batch(1, 72));
  const uint64_t before = rig.disk.bytes_read();
  EXPECT_EQ(IndexesOf(*rig.ReadFromOffset(1, 1000)), std::vector{LogIndex(2)});
  EXPECT_EQ(IndexesOf(*rig.ReadFromOffset(2, 1000)), std::vector{rig.entries.back().index});
  EXPECT_LT(rig.disk.bytes_read() - before, 2U << 20);
}

TEST(SegmentRead, ByOffset_OfAStretchOfGaps_FourTimesWhatIsAskedForIsLookedAt) {
  SegmentRig rig(65);
  Term term(1);
  for (int i = 0; i < 40'000; ++i) {  // 5 MB
    rig.maker.set_term(++term);
    rig.Append(Gap(&rig.maker, 1));
  }
  for (const uint64_t asked : {uint64_t{1}, uint64_t{1} << 20}) {
    const uint64_t before = rig.disk.bytes_read();
    const auto read = rig.ReadFromOffset(0, asked);
    ASSERT_TRUE(read.ok()) << read.status();
    const uint64_t looked_at = rig.disk.bytes_read() - before;
    const uint64_t looked_at_max = std::max<uint64_t>(4 * asked, 1 << 20);
    EXPECT_LE(looked_at, looked_at_max) << asked;
    EXPECT_GT(looked_at + (64 << 10), looked_at_max) << asked;
    EXPECT_EQ(read->size() * kFrameHeaderSize, looked_at) << asked;
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

std::string FirstFile() { return SegmentPath(SegmentRig::kFolder, LogIndex(1)); }

// A sealed segment of entries of 200 bytes, up to this many.
void FillOne(SegmentRig& rig, int entries) {
  for (int i = 0; i < entries; ++i) rig.Append(rig.maker.Batch(1, 72));
  rig.Seal("s");
}
uint64_t PlaceOf(uint64_t index) { return sizeof(SegmentHeader) + 200 * (index - 1); }

TEST(SegmentSalvage, EntriesBehindDamagedHeaders_AreFound_WhereNoReaderFindsThem) {
  SegmentRig rig(9);
  FillOne(rig, 9);
  for (const uint64_t rotten : {2, 3, 6}) rig.disk.FlipBit(FirstFile(), PlaceOf(rotten) + 40, 1);
  // Up to the next that is damaged; none if it is that itself.
  const std::map<uint64_t, size_t> kFound = {{1, 1}, {2, 0}, {3, 0}, {4, 2}, {5, 1},
                                             {6, 0}, {7, 3}, {8, 2}, {9, 1}};
  for (const auto& [first, count] : kFound) {
    const auto found = rig.Salvage(first, 10'000);
    ASSERT_EQ(found.ok(), count > 0) << first << " " << found.status();
    if (!found.ok()) {
      EXPECT_EQ(found.status().code(), Code::kDataLoss) << first;
      continue;
    }
    ASSERT_EQ(found->size(), count) << first;
    for (size_t i = 0; i < count; ++i) {
      EXPECT_EQ((*found)[i].frame.view(), rig.entries[first - 1 + i].frame.view()) << first;
    }
    EXPECT_EQ(rig.Read(first, 10'000).ok(), first == 1) << first;
  }
  EXPECT_EQ(rig.Salvage(10, 100).status().code(), Code::kOutOfRange);
}

// Whichever entry of the gap is asked for; whoever asks cuts it to what it lacks.
TEST(SegmentSalvage, AGapBehindADamagedHeader_IsFoundByEachOfItsEntries) {
  SegmentRig rig(14);
  FillOne(rig, 1);
  rig.Append(rig.maker.Batch(1, 72));
  const LogPoint before = rig.maker.end();
  const Entry gap = Gap(&rig.maker, 3);
  const LogPoint end = rig.maker.end();
  rig.Append(gap);
  rig.Append(rig.maker.Batch(1, 72));
  rig.Seal("s");
  const std::string second = SegmentPath(SegmentRig::kFolder, before.index);
  rig.disk.FlipBit(second, PlaceOf(1) + 40, 1);
  for (LogIndex index = before.index + 1; index <= end.index; ++index) {
    const auto found = rig.Salvage(index.value(), 10'000);
    ASSERT_TRUE(found.ok()) << index << " " << found.status();
    ASSERT_EQ(found->size(), 2U) << index;
    EXPECT_EQ(found->front().frame.view(), gap.frame.view()) << index;
    EXPECT_EQ(found->back().index, end.index + 1);
  }
  EXPECT_EQ(rig.Salvage(before.index.value(), 1).status().code(), Code::kDataLoss);
  EXPECT_EQ(rig.Salvage(end.index.value() + 1, 1)->front().index, end.index + 1);
}

TEST(SegmentSalvage, WhatOnlyBeginsLikeTheEntry_IsPassedOver) {
  SegmentRig rig(10);
  rig.Append(rig.maker.Batch(1, 72));
  rig.Append(rig.maker.Batch(1, 400));
  rig.Append(rig.maker.Batch(1, 72));
  rig.Seal("s");
  const std::string third(rig.entries[2].frame.view());
  // Its header in the record before, whose own is damaged.
  rig.disk.Overwrite(FirstFile(), PlaceOf(2) + 160, third.substr(0, kFrameHeaderSize));
  rig.disk.FlipBit(FirstFile(), PlaceOf(2) + 40, 1);
  const auto found = rig.Salvage(3, 1);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->front().frame.view(), third);
}

// Around the first place that the second piece of the search begins with; without index points,
// which were in the footer.
TEST(SegmentSalvage, AFarEntry_IsFoundAtWhateverPlace) {
  constexpr uint64_t kPiece = 4 << 20;
  const uint64_t second_piece = PlaceOf(1) + kFrameAlignment + kPiece;
  for (const uint64_t place : {second_piece - 200, second_piece - 128, second_piece - 120,
                               second_piece - 8, second_piece, second_piece + 8}) {
    SegmentRig rig(11);
    rig.Append(rig.maker.Batch(1, static_cast<uint32_t>(place - PlaceOf(1) - kFrameHeaderSize)));
    FillOne(rig, 1);
    rig.Append(rig.maker.Batch(1, 72));
    rig.Restart(true);
    rig.disk.FlipBit(FirstFile(), PlaceOf(1) + 40, 1);
    rig.disk.FlipBit(FirstFile(), rig.disk.Content(FirstFile())->size() - 40, 1);
    const auto recovered = rig.Recover(EndAfter(rig.entries.back().frame.header()));
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    ASSERT_EQ(recovered->damaged.size(), 1U);
    const auto found = rig.Salvage(2, 1);
    ASSERT_TRUE(found.ok()) << place - second_piece << " " << found.status();
    EXPECT_EQ(found->front().frame.view(), rig.entries[1].frame.view());
  }
}

TEST(SegmentSalvage, AFileThatBecameShorter_IsDataLoss) {
  SegmentRig rig(12);
  FillOne(rig, 4);
  rig.disk.FlipBit(FirstFile(), PlaceOf(2) + 40, 1);
  rig.disk.TruncateFile(FirstFile(), PlaceOf(4) - 8);
  EXPECT_EQ(rig.Salvage(4, 100).status().code(), Code::kDataLoss);
  EXPECT_EQ(rig.Salvage(3, 100).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::storage

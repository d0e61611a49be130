// Segments whose first ones were dropped: reads, times and a later start.
#include <algorithm>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

Offset EndOf(const Entry& entry) {
  const FrameHeader header = entry.frame.header();
  return header.base_offset + header.offset_span;
}

// What FindTimestamp is to answer, naively.
LogIndex FirstSince(const std::vector<Entry>& entries, int64_t timestamp_ms, Offset from) {
  for (const Entry& entry : entries) {
    if (EndOf(entry) > from && HasRecordSince(entry.frame.header(), timestamp_ms)) {
      return entry.index;
    }
  }
  return LogIndex();
}

int64_t NewestSince(const std::vector<Entry>& entries, Offset from) {
  int64_t newest_ms = 0;
  for (const Entry& entry : entries) {
    if (EndOf(entry) > from) {
      newest_ms = std::max(newest_ms, entry.frame.header().max_timestamp_ms);
    }
  }
  return newest_ms;
}

class SegmentDrop : public testing::Test {
 protected:
  // Four segments of 40 entries, the last one active; times that wander.
  void SetUp() override {
    Random random(5);
    for (uint64_t segment = 0; segment < 4; ++segment) {
      for (uint64_t i = 0; i < 40; ++i) {
        const auto time = static_cast<int64_t>(2000 - segment * 20 + random.Below(60));
        const auto bytes = static_cast<uint32_t>(random.Between(10, 12'000));
        rig_.Append(random.OneIn(6) ? rig_.maker.NoOp() : rig_.maker.BatchAt(time, bytes));
      }
      if (segment < 3) begins_.push_back(rig_.Seal("state@" + std::to_string(segment)));
    }
    end_ = rig_.Sync();
  }
  void ExpectTimesFrom(Offset from) {
    const Result<int64_t> newest = rig_.FindNewestTime(from);
    ASSERT_TRUE(newest.ok()) << newest.status();
    EXPECT_EQ(*newest, NewestSince(rig_.entries, from)) << from;
    for (int64_t time = 1900; time < 2080; time += 3) {
      const Result<LogIndex> found = rig_.FindTimestamp(time, end_.index + 1, from);
      ASSERT_TRUE(found.ok()) << found.status();
      EXPECT_EQ(*found, FirstSince(rig_.entries, time, from)) << "time=" << time << " " << from;
    }
  }

  SegmentRig rig_{3};
  std::vector<LogPoint> begins_;  // the ends of the sealed ones
  LogPoint end_;
};

TEST_F(SegmentDrop, WhatIsDropped_IsOutOfRange_ByIndexAndByOffset) {
  const LogPoint begin = begins_[1];
  ASSERT_TRUE(rig_.DropTo(begin.index).ok());
  EXPECT_EQ(rig_.Files().size(), 2U);
  EXPECT_EQ(rig_.Read(begin.index.value(), 1).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig_.ReadFromOffset(begin.next_offset.value() - 1, 1).status().code(),
            Code::kOutOfRange);
  EXPECT_EQ(rig_.Read(begin.index.value() + 1, 1)->front().index, begin.index + 1);
  const auto first = rig_.ReadFromOffset(begin.next_offset.value(), 1);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_LE(first->front().frame.header().base_offset, begin.next_offset);
}

TEST_F(SegmentDrop, TheActiveOneStays_WhateverIsAskedFor) {
  ASSERT_TRUE(rig_.DropTo(end_.index).ok());
  EXPECT_EQ(rig_.Files().size(), 1U);
  rig_.Append(rig_.maker.Batch(1, 10));
  EXPECT_EQ(rig_.Read(rig_.entries.size(), 1)->size(), 1U);
}

TEST_F(SegmentDrop, AStart_GoesOnFromTheBegin_AndRemovesWhatIsLeftBelow) {
  journal::LogRecord log = rig_.LogUpTo(end_);
  log.begin = begins_[0];
  rig_.Restart(true);
  const Result<RecoveredSegments> recovered = rig_.Recover(log);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_EQ(recovered->sealed.size(), 2U);
  EXPECT_EQ(recovered->sealed[0].end, begins_[1]);
  EXPECT_EQ(recovered->sealed[0].base_offset, begins_[0].next_offset);
  EXPECT_TRUE(recovered->sealed[0].has_state);
  EXPECT_EQ(recovered->sealed[1].end, begins_[2]);
  EXPECT_EQ(recovered->active.base_offset, begins_[2].next_offset);
  EXPECT_EQ(recovered->active.next_offset, end_.next_offset);
  EXPECT_EQ(rig_.Files().size(), 3U);
}

TEST_F(SegmentDrop, Times_AreLookedForFromAnOffsetOn_WhereverItLies) {
  const auto records = end_.next_offset.value();
  for (int64_t from = 0; from <= records; from += 7) ExpectTimesFrom(Offset(from));
  ASSERT_TRUE(rig_.DropTo(begins_[1].index).ok());
  for (int64_t from = begins_[1].next_offset.value(); from <= records; from += 7) {
    ExpectTimesFrom(Offset(from));
  }
}

// There may be thousands of them.
TEST_F(SegmentDrop, WhatIsWrittenMeanwhile_WaitsForOneFile_NotForAll) {
  ASSERT_EQ(rig_.Files().size(), 4U);
  ASSERT_TRUE(rig_.WriteBesideDropTo(begins_[2].index, rig_.maker.Batch(1, 10)).ok());
  EXPECT_EQ(rig_.Files().size(), 3U);
  ASSERT_TRUE(rig_.DropTo(begins_[2].index).ok());
  EXPECT_EQ(rig_.Files().size(), 1U);
}

TEST_F(SegmentDrop, WhereARemovalFails_TheSegmentIsReadOn_AndGoesTheNextTime) {
  rig_.disk.FailNext(sim::SimDisk::Kind::kChange, "groups/", Internal("input/output error"));
  EXPECT_FALSE(rig_.DropTo(begins_[1].index).ok());
  EXPECT_EQ(rig_.Read(1, 1)->front().index, LogIndex(1));
  EXPECT_TRUE(rig_.DropTo(begins_[1].index).ok());
  EXPECT_EQ(rig_.Files().size(), 2U);
}

// The file goes before the read opens it, or after: then what it holds is read. From one seed to
// the next the disk takes them in another order.
TEST(SegmentDropBesideARead, ARead_GetsWhatItAskedFor_OrIsToldThatItIsOutOfRange) {
  size_t reads = 0;
  size_t refusals = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SegmentRig rig(seed);
    rig.Append(rig.maker.Batch(2, 100));
    rig.Append(rig.maker.Batch(2, 100));
    const LogPoint sealed = rig.Seal("state");
    rig.Append(rig.maker.Batch(2, 100));
    rig.Sync();
    const Result<std::vector<Entry>> read = seed % 2 == 0
                                                ? rig.ReadBesideDropTo(sealed.index, 2)
                                                : rig.ReadFromOffsetBesideDropTo(sealed.index, 2);
    if (read.ok()) {
      ++reads;
      EXPECT_EQ(read->front().index, LogIndex(2)) << "seed=" << seed;
    } else {
      ++refusals;
      EXPECT_EQ(read.status().code(), Code::kOutOfRange) << read.status() << " seed=" << seed;
    }
  }
  EXPECT_GT(reads, 10U);
  EXPECT_GT(refusals, 10U);
}

}  // namespace
}  // namespace millrace::storage

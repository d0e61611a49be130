// Finding the first entry of a time, against a scan of all entries, wherever index points and
// segments end.
#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

// What FindTimestamp is to answer, naively.
LogIndex FirstSince(const std::vector<Entry>& entries, int64_t timestamp_ms, LogIndex before) {
  for (const Entry& entry : entries) {
    if (entry.index >= before) break;
    const FrameHeader header = ParseFrameHeader(entry.frame.view()).value();
    if (header.offset_span > 0 && header.max_timestamp_ms >= timestamp_ms) return entry.index;
  }
  return LogIndex();
}

void ExpectAsNaive(SegmentRig& rig, int64_t timestamp_ms, LogIndex before) {
  const Result<LogIndex> found = rig.FindTimestamp(timestamp_ms, before);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, FirstSince(rig.entries, timestamp_ms, before))
      << "time=" << timestamp_ms << " before=" << before;
}

// Three sealed segments and an active one, with times that wander up and down around a rising line.
LogPoint FillWithTimes(SegmentRig& rig, Random& random) {
  for (int segment = 0; segment < 4; ++segment) {
    for (int i = 0; i < 40; ++i) {
      const auto time = static_cast<int64_t>(1000 + segment * 40 + i + random.Below(60));
      const auto bytes = static_cast<uint32_t>(random.Between(10, 12'000));
      rig.Append(random.OneIn(6) ? rig.maker.NoOp() : rig.maker.BatchAt(time, bytes));
    }
    if (segment < 3) rig.Seal("state");
  }
  return rig.Sync();
}

TEST(SegmentFinder, AGroupWithoutSegments_HasNothingOfAnyTime) {
  SegmentRig rig(1);
  EXPECT_EQ(rig.FindTimestamp(1, LogIndex(1)).value(), LogIndex());
}

TEST(SegmentFinder, FindsTheFirstEntryOfATime_InAnyOrderOfTimes_AlsoAfterARestart) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    SegmentRig rig(seed);
    Random random(seed);
    const LogPoint end = FillWithTimes(rig, random);
    for (const bool is_restarted : {false, true}) {
      if (is_restarted) {
        rig.Restart(true);
        ASSERT_TRUE(rig.Recover(end).ok());
      }
      for (int64_t time = 995; time < 1230; time += 2) ExpectAsNaive(rig, time, end.index + 1);
      for (int i = 0; i < 50; ++i) {
        ExpectAsNaive(rig, static_cast<int64_t>(random.Between(995, 1230)),
                      LogIndex(random.Between(1, end.index.value() + 1)));
      }
    }
  }
}

TEST(SegmentFinder, LooksAtOneStretchBetweenIndexPoints_NotAtTheWholeSegment) {
  SegmentRig rig(2);
  for (int i = 0; i < 100; ++i) rig.Append(rig.maker.BatchAt(1000 + i, 12'000));
  rig.Seal("state");
  // The headers of the first and the 80th entry: who reads them, says so.
  const std::string path = SegmentPath(SegmentRig::kFolder, LogIndex(1));
  const uint64_t frame_bytes = rig.entries.front().frame.size();
  for (const uint64_t entry : {uint64_t{0}, uint64_t{79}}) {
    rig.disk.FlipBit(path, sizeof(SegmentHeader) + entry * frame_bytes + 40, 1);
  }
  EXPECT_EQ(rig.FindTimestamp(1040, LogIndex(101)).value(), LogIndex(41));
  EXPECT_EQ(rig.FindTimestamp(1000, LogIndex(101)).status().code(), Code::kDataLoss);
}

// Points are 64 KiB apart, which is six of these entries.
TEST(SegmentFinder, TellsWhenARecordWasAppended_BetweenPointsAroundIt_AlsoAfterARestart) {
  SegmentRig rig(3);
  for (int segment = 0; segment < 3; ++segment) {
    for (int i = 0; i < 40; ++i) {
      rig.maker.set_append_time_ms(1000 * segment + i);
      rig.Append(i % 7 == 0 ? rig.maker.NoOp() : rig.maker.BatchAt(0, 12'000));
    }
    if (segment < 2) rig.Seal("state");
  }
  const LogPoint end = rig.Sync();
  for (const bool is_restarted : {false, true}) {
    if (is_restarted) {
      rig.Restart(true);
      ASSERT_TRUE(rig.Recover(end).ok());
    }
    for (const Entry& entry : rig.entries) {
      const FrameHeader header = ParseFrameHeader(entry.frame.view()).value();
      if (header.offset_span == 0) continue;
      const Offset last = header.base_offset + header.offset_span - 1;
      for (const Offset offset : {header.base_offset, last}) {
        const Result<raft::AppendTime> time = rig.AppendTimeOf(offset.value());
        ASSERT_TRUE(time.ok()) << time.status();
        EXPECT_LE(time->min_ms, header.append_time_ms) << offset;
        EXPECT_GE(time->max_ms, header.append_time_ms) << offset;
        EXPECT_LE(time->max_ms - time->min_ms, 8) << offset;
      }
    }
    EXPECT_EQ(rig.AppendTimeOf(end.next_offset.value()).status().code(), Code::kOutOfRange);
  }
}

// What was in its files is gone, and nobody notices.
TEST(SegmentFinder, TheTimeOfAnAppend_IsToldWithoutTheDisk) {
  SegmentRig rig(4);
  rig.maker.set_append_time_ms(1000);
  for (int i = 0; i < 10; ++i) rig.Append(rig.maker.BatchAt(0, 12'000));
  rig.Seal("state");
  const std::string path = SegmentPath(SegmentRig::kFolder, LogIndex(1));
  for (uint64_t at = 0; at < 100'000; at += 100) rig.disk.FlipBit(path, at, 1);
  EXPECT_EQ(rig.AppendTimeOf(7).value(), (raft::AppendTime{.min_ms = 1000, .max_ms = 1000}));
}

}  // namespace
}  // namespace millrace::storage

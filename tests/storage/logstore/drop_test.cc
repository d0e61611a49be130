// Segments that nobody asks for any more: which go, when, and what a start finds of them.
#include <algorithm>
#include <string>

#include <gtest/gtest.h>

#include "tests/storage/logstore/one_group.h"

namespace millrace::storage {
namespace {

class DropTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(rig_.Start().ok());
    rig_.CreateGroup(kGroupNumber);
  }
  // Entries of some 4 KiB, until so many segments of 16 KiB are sealed.
  void FillSegments(size_t segments) {
    rig_.rolls = true;
    while (Sealed().size() < segments) AppendAndCommit(4, 4000);
    rig_.rolls = false;
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  void AppendAndCommit(uint64_t count, uint32_t bytes) {
    rig_.Append(kGroupNumber, count, bytes);
    rig_.Settle();
    while (rig_.committed(kGroupNumber) < rig_.last_index(kGroupNumber)) rig_.Commit(kGroupNumber);
    rig_.RunFor(std::chrono::milliseconds(50));
  }
  const std::deque<raft::SealedSegment>& Sealed() { return rig_.store().sealed_segments(kGroup); }
  void SetLogStart(Offset start) {
    rig_.SetLogStart(kGroupNumber, start);
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  void RollNow() {
    const LogIndex last(rig_.last_index(kGroupNumber));
    rig_.store().Roll(kGroup, last, [last] {
      return Bytes::CopyOf("state of 2 at " + std::to_string(last.value()));
    });
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  bool WantsRoll() { return rig_.store().WantsRoll(kGroup, rig_.Now()); }

  LogStoreRig rig_{41};
};

TEST_F(DropTest, WholeSegmentsBelowTheStartGo_AndTheLogBeginsBehindThem) {
  FillSegments(4);
  const raft::SealedSegment second = Sealed()[1];
  const size_t files = Files(rig_).size();
  SetLogStart(second.end.next_offset - 1);
  EXPECT_EQ(Files(rig_).size(), files - 1) << "the second one still has a record";
  SetLogStart(second.end.next_offset);
  EXPECT_EQ(Files(rig_).size(), files - 2);
  EXPECT_EQ(rig_.begin(kGroupNumber), second.end.index);
  EXPECT_EQ(Sealed().size(), 2U);
  EXPECT_EQ(rig_.Read(kGroupNumber, second.end.index.value(), 1).status().code(),
            Code::kOutOfRange);
  EXPECT_EQ(rig_.ReadFromOffset(kGroupNumber, 0, 1).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.CompareWithModel(), "");
  EXPECT_EQ(rig_.Recovered(kGroupNumber)->initial.log.begin(), second.end);
  EXPECT_EQ(Sealed().size(), 2U) << "found again";
}

TEST_F(DropTest, WhatIsWrittenOn_IsCountedApart_UntilItIsEnded) {
  AppendAndCommit(3, 100);
  const uint64_t bytes = rig_.store().active_segment_bytes(kGroup);
  EXPECT_GT(bytes, 300U);
  AppendAndCommit(1, 100);
  EXPECT_GT(rig_.store().active_segment_bytes(kGroup), bytes);
  RollNow();
  EXPECT_EQ(rig_.store().active_segment_bytes(kGroup), 0U);
  EXPECT_GT(Sealed().back().bytes, bytes);
  EXPECT_EQ(rig_.store().active_segment_bytes(RaftGroupId(99)), 0U);
}

TEST_F(DropTest, TheNewestStateStays_UntilALaterSegmentHasOne) {
  FillSegments(2);
  const LogPoint end = Sealed().back().end;
  SetLogStart(rig_.end_offset(kGroupNumber));
  EXPECT_EQ(Sealed().size(), 1U);
  EXPECT_LT(rig_.begin(kGroupNumber), end.index);
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  EXPECT_EQ(rig_.Recovered(kGroupNumber)->snapshot->index, end.index);
  // One without a state is no successor.
  rig_.SetLogStart(kGroupNumber, rig_.end_offset(kGroupNumber));
  AppendAndCommit(1, 10);
  rig_.store().Roll(kGroup, LogIndex(rig_.last_index(kGroupNumber)), std::nullopt);
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Sealed().size(), 2U);
  EXPECT_LT(rig_.begin(kGroupNumber), end.index);
  AppendAndCommit(1, 10);
  RollNow();
  EXPECT_EQ(rig_.begin(kGroupNumber), end.index);
}

TEST_F(DropTest, WhatHoldsUpADrop_IsEnded_OnceAnEntryFollows) {
  FillSegments(2);
  AppendAndCommit(1, 3000);
  EXPECT_FALSE(WantsRoll());
  EXPECT_FALSE(rig_.store().WantsEntry(kGroup));
  SetLogStart(rig_.end_offset(kGroupNumber));
  ASSERT_TRUE(WantsRoll()) << "nothing else goes before";
  RollNow();
  EXPECT_EQ(Sealed().size(), 1U);
  EXPECT_FALSE(WantsRoll()) << "there is nothing to end";
  ASSERT_TRUE(rig_.store().WantsEntry(kGroup)) << "the last one could go, behind another";
  AppendAndCommit(1, 10);
  EXPECT_FALSE(rig_.store().WantsEntry(kGroup));
  // Whatever that entry was: nobody asks for it either.
  SetLogStart(rig_.end_offset(kGroupNumber));
  ASSERT_TRUE(WantsRoll());
  RollNow();
  EXPECT_EQ(Sealed().size(), 1U) << "the small one";
  EXPECT_LT(Sealed().front().bytes, 1024U);
  EXPECT_FALSE(WantsRoll());
  EXPECT_FALSE(rig_.store().WantsEntry(kGroup)) << "it is not worth it";
}

TEST_F(DropTest, AStartThatIsNotHigher_ChangesNothing) {
  FillSegments(3);
  SetLogStart(Sealed()[0].end.next_offset);
  const auto files = Files(rig_);
  const uint64_t operations = rig_.disk().operations();
  SetLogStart(Offset(0));
  SetLogStart(Offset(1));
  EXPECT_EQ(Files(rig_), files);
  EXPECT_EQ(rig_.disk().operations(), operations);
}

TEST_F(DropTest, WhatCannotBeRemovedAtOnce_IsRemovedByTheNextStart) {
  FillSegments(3);
  const size_t files = Files(rig_).size();
  rig_.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2/", Internal("input/output error"));
  SetLogStart(Sealed()[0].end.next_offset);
  EXPECT_EQ(Files(rig_).size(), files);
  EXPECT_TRUE(rig_.faults().empty() && rig_.stalled().empty()) << "that is nobody's trouble";
  rig_.Crash(false);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.CompareWithModel(), "");
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Files(rig_).size(), files - 1);
}

// Or by the next that goes.
TEST_F(DropTest, WhatCannotBeRemovedAtOnce_GoesWithTheNext) {
  FillSegments(4);
  const size_t files = Files(rig_).size();
  rig_.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2/", Internal("input/output error"));
  SetLogStart(Sealed()[0].end.next_offset);
  ASSERT_EQ(Files(rig_).size(), files);
  SetLogStart(Sealed()[0].end.next_offset);
  EXPECT_EQ(Files(rig_).size(), files - 2);
}

// The journal is told at once; the files go before its segments are written again.
TEST_F(DropTest, AGroupThatStalls_DropsToo) {
  FillSegments(3);
  const Offset start = Sealed()[0].end.next_offset;
  rig_.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2/", Internal("input/output error"));
  rig_.Append(kGroupNumber, 1, 100);
  rig_.Settle();
  rig_.Commit(kGroupNumber);
  while (rig_.stalled().empty()) rig_.RunFor(std::chrono::milliseconds(10));
  rig_.SetLogStart(kGroupNumber, start);
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_FALSE(rig_.stalled().empty());
  EXPECT_NE(rig_.begin(kGroupNumber), LogIndex());
  rig_.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig_.stalled().empty());
  EXPECT_EQ(Sealed().size(), 2U);
  EXPECT_EQ(Files(rig_).size(), 3U) << "with the active one";
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// Nothing else would ever make room there: no person, no restart.
TEST_F(DropTest, AGroupThatFindsNoRoom_MakesIt) {
  FillSegments(4);
  rig_.disk().SetCapacity(UINT64_MAX);
  rig_.disk().SetCapacity(UINT64_MAX - rig_.disk().FreeBytes());
  AppendAndCommit(1, 4000);
  rig_.RunFor(std::chrono::seconds(20));
  ASSERT_FALSE(rig_.stalled().empty());
  rig_.SetLogStart(kGroupNumber, Sealed()[2].end.next_offset);
  rig_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig_.stalled().empty()) << "though the last pause was one of 8 s";
  EXPECT_TRUE(rig_.faults().empty());
  EXPECT_EQ(Sealed().size(), 1U);
  EXPECT_EQ(Files(rig_).size(), 2U);
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  rig_.Crash(true);
  rig_.disk().SetCapacity(UINT64_MAX);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// A file that the synced end lies in is made anew without its ending, and its state goes with that.
TEST_F(DropTest, AGroupThatStalls_KeepsAStateThatIsNotMadeAnew) {
  FillSegments(3);
  AppendAndCommit(1, 10);
  RollNow();
  const auto states = Sealed();
  rig_.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2/", Internal("input/output error"));
  AppendAndCommit(1, 10);
  ASSERT_FALSE(rig_.stalled().empty());
  SetLogStart(rig_.end_offset(kGroupNumber));
  EXPECT_EQ(rig_.begin(kGroupNumber), states[states.size() - 3].end.index);
  rig_.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig_.stalled().empty());
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// Of a topic all partitions let go of theirs in the same second.
TEST_F(DropTest, OneFileGoesAtATime_OfWhateverGroups) {
  constexpr uint64_t kOther = 3;
  rig_.CreateGroup(kOther);
  FillSegments(4);
  rig_.rolls = true;
  while (rig_.store().sealed_segments(RaftGroupId(kOther)).size() < 4) {
    rig_.Append(kOther, 4, 4000);
    rig_.Settle();
    rig_.Commit(kOther);
    rig_.RunFor(std::chrono::milliseconds(50));
  }
  rig_.rolls = false;
  rig_.RunFor(std::chrono::milliseconds(100));
  const size_t files = rig_.disk().Paths().size();
  rig_.disk().SetSlowness(std::chrono::milliseconds(10), std::chrono::milliseconds(10));
  for (const uint64_t group : {kGroupNumber, kOther}) {
    rig_.SetLogStart(group, rig_.store().sealed_segments(RaftGroupId(group))[2].end.next_offset);
  }
  size_t left = files;
  size_t steps = 0;
  for (; left > files - 6; ++steps) {
    ASSERT_LT(steps, 1000U);
    rig_.RunFor(std::chrono::milliseconds(5));
    const size_t now = rig_.disk().Paths().size();
    ASSERT_LE(left - now, 1U);
    left = now;
  }
  rig_.disk().ForgetFaults();
}

TEST_F(DropTest, TheJournalIsToldFirst) {
  FillSegments(3);
  const auto files = Files(rig_);
  rig_.HoldJournal();
  rig_.SetLogStart(kGroupNumber, Sealed()[1].end.next_offset);
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_EQ(Files(rig_), files);
  EXPECT_EQ(rig_.begin(kGroupNumber), LogIndex());
}

}  // namespace
}  // namespace millrace::storage

// Every byte that counts is read, and what is wrong is named with its place; and what recovery
// finds when it may change nothing.
#include "storage/segment/verifier.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

constexpr SegmentFolder kFolder = SegmentRig::kFolder;

std::string PathOf(uint64_t first) { return SegmentPath(kFolder, LogIndex(first)); }

// Entries 1 to 6 and 7 to 12 in sealed segments with states, 13 to 18 in one that is written on.
class SegmentVerifierTest : public testing::Test {
 protected:
  SegmentVerifierTest() : rig_(5), end_(rig_.Fill(2, 6, 100)) { rig_.Restart(false); }

  std::map<std::string, std::string> Contents() const {
    std::map<std::string, std::string> contents;
    for (const std::string& path : rig_.disk.Paths()) contents[path] = *rig_.disk.Content(path);
    return contents;
  }
  // Where the frame of the entry lies in its file.
  uint64_t PositionOf(uint64_t index) const {
    uint64_t position = sizeof(SegmentHeader);
    for (uint64_t at = (index - 1) / 6 * 6 + 1; at < index; ++at) {
      position += rig_.entries.at(at - 1).frame.size();
    }
    return position;
  }
  // Without what was damaged, nothing else is.
  void ExpectFault(const std::string& path, std::optional<uint64_t> position) {
    const VerifiedSegments verified = rig_.Verify(end_);
    ASSERT_FALSE(verified.faults.empty());
    EXPECT_EQ(verified.faults.front().path, path);
    EXPECT_EQ(verified.faults.front().position, position);
    EXPECT_EQ(verified.faults.front().why.code(), Code::kDataLoss);
    for (const SegmentFault& fault : verified.faults) EXPECT_EQ(fault.path, path) << fault.why;
  }

  SegmentRig rig_;
  const LogPoint end_;
};

TEST_F(SegmentVerifierTest, WholeSegments_HaveNoFaults) {
  const VerifiedSegments verified = rig_.Verify(end_);
  EXPECT_TRUE(verified.faults.empty()) << verified.faults.front().why;
  EXPECT_EQ(verified.files, 3U);
  EXPECT_EQ(verified.frames, 18U);
}

TEST_F(SegmentVerifierTest, PayloadOfASealedSegment_IsNamed_AndAllElseIsRead) {
  rig_.disk.FlipBit(PathOf(1), PositionOf(3) + kFrameHeaderSize + 7, 2);
  ExpectFault(PathOf(1), PositionOf(3));
  EXPECT_EQ(rig_.Verify(end_).frames, 18U);
  EXPECT_TRUE(rig_.Recover(end_).ok()) << "a start does not look at it";
}

TEST_F(SegmentVerifierTest, HeaderOfAFrame_IsNamed_AndTheOtherFilesAreRead) {
  rig_.disk.FlipBit(PathOf(7), PositionOf(9) + 30, 2);
  ExpectFault(PathOf(7), PositionOf(9));
  EXPECT_EQ(rig_.Verify(end_).files, 3U);
}

TEST_F(SegmentVerifierTest, StateAndFooter_AreNamed) {
  const std::string content = *rig_.disk.Content(PathOf(7));
  const uint64_t state_at = content.find("state@12");
  rig_.disk.FlipBit(PathOf(7), state_at, 0);
  ExpectFault(PathOf(7), state_at);
  rig_.disk.FlipBit(PathOf(7), state_at, 0);
  rig_.disk.FlipBit(PathOf(7), content.size() - 1, 0);
  ExpectFault(PathOf(7), content.size());
}

TEST_F(SegmentVerifierTest, CutFiles_AreNamed) {
  rig_.disk.TruncateFile(PathOf(1), PositionOf(4) + 10);
  const VerifiedSegments sealed = rig_.Verify(end_);
  ASSERT_FALSE(sealed.faults.empty());
  EXPECT_EQ(sealed.faults.back().path, PathOf(1));
  EXPECT_EQ(sealed.faults.back().position, PositionOf(4));
  SegmentRig last(6);
  const LogPoint end = last.Fill(0, 6, 100);
  last.Restart(false);
  last.disk.TruncateFile(PathOf(1), PositionOf(1));
  const VerifiedSegments active = last.Verify(end);
  ASSERT_EQ(active.faults.size(), 1U);
  EXPECT_EQ(active.faults.front().position, PositionOf(1));
  EXPECT_NE(active.faults.front().why.message().find("entries 1 to 6 are missing"),
            std::string::npos);
}

TEST_F(SegmentVerifierTest, MissingFile_IsNamedByItsEntries) {
  rig_.disk.RemoveFile(PathOf(7));
  ExpectFault(SegmentDirectory(kFolder), std::nullopt);
  EXPECT_NE(rig_.Verify(end_).faults.front().why.message().find("entries 7 to 12 are missing"),
            std::string::npos);
}

TEST_F(SegmentVerifierTest, AnotherReplicasFile_IsNamed) {
  const std::string stranger = *rig_.disk.Content(PathOf(1));
  rig_.disk.RemoveFile(PathOf(7));
  rig_.disk.PutFile(PathOf(7), stranger);
  const VerifiedSegments verified = rig_.Verify(end_);
  ASSERT_FALSE(verified.faults.empty());
  EXPECT_EQ(verified.faults.front().path, PathOf(7));
  EXPECT_EQ(verified.faults.front().position, 0U);
}

TEST_F(SegmentVerifierTest, WhatLiesAboveTheEnd_IsNotLookedAt) {
  const LogPoint end = rig_.LogUpTo(end_).end;
  rig_.disk.PutFile(PathOf(19), "not synced, and to be written again");
  std::string content = *rig_.disk.Content(PathOf(13));
  rig_.disk.RemoveFile(PathOf(13));
  rig_.disk.PutFile(PathOf(13), content + "torn");
  EXPECT_TRUE(rig_.Verify(end).faults.empty());
}

TEST_F(SegmentVerifierTest, FlippedBits_AreAllNamed) {
  for (const std::string& path : rig_.Files()) {
    const uint64_t size = rig_.disk.Content(path)->size();
    for (uint64_t at = 0; at < size; at += 7) {
      rig_.disk.FlipBit(path, at, at % 8);
      const VerifiedSegments verified = rig_.Verify(end_);
      ASSERT_FALSE(verified.faults.empty()) << path << " at " << at;
      for (const SegmentFault& fault : verified.faults) {
        ASSERT_EQ(fault.path, path) << at << " " << fault.why;
      }
      rig_.disk.FlipBit(path, at, at % 8);
    }
  }
}

TEST_F(SegmentVerifierTest, RecoveryThatOnlyReads_ChangesNothing) {
  rig_.disk.PutFile(PathOf(19), "above the synced end");
  rig_.disk.PutFile(PathOf(13) + ".new", "being made anew when that ended");
  const std::string content = *rig_.disk.Content(PathOf(13));
  rig_.disk.RemoveFile(PathOf(13));
  rig_.disk.PutFile(PathOf(13), content + "torn");
  const auto before = Contents();
  const uint64_t operations = rig_.disk.operations();
  const auto recovered = rig_.Recover(end_, LastFile::kOnlyRead);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->snapshot->index, LogIndex(12));
  rig_.ExpectAllReadable(18);
  EXPECT_EQ(Contents(), before);
  EXPECT_EQ(rig_.disk.operations(), operations);
}

TEST_F(SegmentVerifierTest, RecoveryThatOnlyReads_NamesRottenStates) {
  const uint64_t state_at = rig_.disk.Content(PathOf(7))->find("state@12");
  rig_.disk.FlipBit(PathOf(7), state_at, 0);
  const auto recovered = rig_.Recover(end_, LastFile::kOnlyRead);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->snapshot->index, LogIndex(6));
  EXPECT_EQ(recovered->rotten_states, std::vector<std::string>{PathOf(7)});
}

}  // namespace
}  // namespace millrace::storage

// What is told of data directories of every kind: whole, fresh, not one, of another build, damaged
// in each part; and that a crash's traces are no damage. (That nothing changes, every case holds.)
#include "broker/inspect/inspection.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "storage/segment/format.h"
#include "storage/superblock/superblock.h"
#include "tests/broker/inspect/inspect_rig.h"
#include "tests/storage/logstore/log_store_rig.h"

namespace millrace::broker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kSuperblock[] = "SUPERBLOCK";

// A store's files beside a superblock, as a broker leaves them.
class InspectionTest : public testing::Test {
 protected:
  InspectionTest() : rig_(7) { PutSuperblock(storage::BootstrapStage::kInitialized); }

  void PutSuperblock(storage::BootstrapStage stage) {
    facts_ = {.cluster_name = "demo",
              .broker = BrokerId(2),
              .incarnation = Incarnation(22),
              .boot_epoch = BootEpoch(3),
              .stage = stage,
              .cluster_uuid = 77,
              .controllers = {{BrokerId(2), Incarnation(22), ReplicaNumber(1)}},
              .was_stopped_cleanly = true,
              .journal_key = rig_.options.journal.key,
              .cluster_level = 1};
    if (disk().Content(kSuperblock).has_value()) disk().RemoveFile(kSuperblock);
    disk().PutFile(kSuperblock, std::string(storage::EncodeSuperblock(facts_, 3).view()) +
                                    std::string(storage::EncodeSuperblock(facts_, 4).view()));
  }
  // Group 2 has entries in the journal alone.
  void WriteJournal() {
    ASSERT_TRUE(rig_.Start().ok());
    rig_.CreateGroup(2);
    rig_.SetTerm(2, 4);
    rig_.Append(2, 5, 100);
    rig_.Settle();
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  // Group 3 has sealed segments, one that is written on, and an entry in the journal alone.
  void WriteSegments() {
    rig_.CreateGroup(3);
    for (int round = 0; round < 40; ++round) {
      rig_.Append(3, 3, 1500);
      rig_.Settle();
      rig_.Commit(3);
    }
    while (rig_.committed(3) < rig_.last_index(3)) rig_.Commit(3);
    rig_.RunFor(std::chrono::milliseconds(200));
    rig_.Append(3, 1, 100);
    rig_.Settle();
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  void Fill() {
    WriteJournal();
    WriteSegments();
    rig_.Crash(/*power=*/false);
  }

  Report Inspect(bool verify = false) {
    Result<Report> report = InspectDisk(rig_.world(), disk(), {.verify = verify});
    CHECK(report.ok()) << report.status();
    return std::move(*report);
  }
  Status Refusal() { return InspectDisk(rig_.world(), disk()).status(); }
  static const GroupReport& GroupOf(const Report& report, uint64_t group) {
    const auto found = std::find_if(
        report.groups.begin(), report.groups.end(),
        [group](const GroupReport& one) { return one.record.group == RaftGroupId(group); });
    CHECK(found != report.groups.end());
    return *found;
  }
  void ExpectWhole(const Report& report) {
    EXPECT_THAT(report.damage, IsEmpty()) << report.damage.front().what;
    EXPECT_THAT(report.unreadable, IsEmpty()) << report.unreadable.front().what;
    for (const GroupReport& group : report.groups) {
      EXPECT_EQ(group.condition, Condition::kWhole) << group.record.group;
    }
  }
  // All that is wrong lies in group 3, whose file is named.
  void ExpectDamaged(const Report& report, const std::string& path) {
    ASSERT_FALSE(report.damage.empty());
    EXPECT_THAT(report.unreadable, IsEmpty());
    for (const Finding& finding : report.damage) {
      EXPECT_EQ(finding.path, path);
      EXPECT_EQ(finding.group, RaftGroupId(3));
    }
    EXPECT_EQ(GroupOf(report, 3).condition, Condition::kDamaged);
    EXPECT_EQ(GroupOf(report, 2).condition, Condition::kWhole);
  }
  std::vector<std::string> PathsIn(const std::string& folder) {
    std::vector<std::string> paths = disk().Paths();
    std::erase_if(paths, [&folder](const std::string& path) { return !path.starts_with(folder); });
    return paths;
  }
  std::string FirstSegment() { return PathsIn("groups/3/").front(); }
  sim::SimDisk& disk() { return rig_.disk(); }

  storage::LogStoreRig rig_;
  storage::SuperblockFacts facts_;
};

TEST_F(InspectionTest, FreshDirectory_IsWholeAndHasNoGroups) {
  PutSuperblock(storage::BootstrapStage::kFresh);
  const Report report = Inspect();
  ExpectWhole(report);
  EXPECT_THAT(report.groups, IsEmpty());
  EXPECT_EQ(report.superblock.newest.facts, facts_);
  EXPECT_EQ(report.journal.last_block, 0U);
}

TEST_F(InspectionTest, WhatIsNoDataDirectory_IsRefused) {
  disk().WipeAll();
  EXPECT_EQ(Refusal().code(), Code::kNotFound);
  disk().PutFile("photos/1.jpeg", "x");
  EXPECT_EQ(Refusal().code(), Code::kNotFound);
  disk().PutFile("journal/1.4096.journal", "x");
  EXPECT_EQ(Refusal().code(), Code::kDataLoss);
}

TEST_F(InspectionTest, DirectoryOfAnotherFormat_IsRefusedNamingIt) {
  constexpr size_t kVersionAt = 8;
  constexpr size_t kCrcAt = 12;
  std::string copy(storage::EncodeSuperblock(facts_, 9).view());
  copy[kVersionAt] = 3;
  std::memset(copy.data() + kCrcAt, 0, sizeof(uint32_t));
  const uint32_t crc = Crc32c(copy);
  std::memcpy(copy.data() + kCrcAt, &crc, sizeof(crc));
  disk().Overwrite(kSuperblock, 0, copy);
  EXPECT_EQ(Refusal().code(), Code::kFailedPrecondition);
  EXPECT_THAT(std::string(Refusal().message()), HasSubstr("format version 3"));
}

TEST_F(InspectionTest, JournalAlone_IsTold) {
  WriteJournal();
  rig_.Crash(/*power=*/true);
  for (const bool verify : {false, true}) {
    const Report report = Inspect(verify);
    ExpectWhole(report);
    ASSERT_THAT(report.groups, SizeIs(1));
    const GroupReport& group = report.groups.front();
    EXPECT_EQ(group.end.index, LogIndex(5));
    EXPECT_EQ(group.log.end.index, LogIndex(0));
    EXPECT_EQ(group.journal_entries, 5U);
    EXPECT_EQ(group.segment_files, 0U);
    EXPECT_EQ(group.hard_state.term, Term(4));
    EXPECT_EQ(group.record.partition.partition, PartitionId(7));
    EXPECT_EQ(report.verified_frames, verify ? 5U : 0U);
    EXPECT_FALSE(report.names_as_of.has_value());
  }
}

// Large writes are in a segment before they are committed, and before the journal knows of them.
TEST_F(InspectionTest, WhatIsWrittenInASegment_IsOfTheLog) {
  rig_.options.large_write_bytes = 1 << 10;
  ASSERT_TRUE(rig_.Start().ok());
  rig_.CreateGroup(3);
  rig_.Append(3, 20, 1500);
  rig_.Settle();
  rig_.Crash(/*power=*/true);
  for (const bool verify : {false, true}) {
    const Report report = Inspect(verify);
    ExpectWhole(report);
    const GroupReport& group = GroupOf(report, 3);
    EXPECT_EQ(group.end.index, LogIndex(20));
    EXPECT_EQ(group.log.end.index, LogIndex(0));
    EXPECT_EQ(group.journal_entries, 0U);
    EXPECT_EQ(group.segment_files, 1U);
  }
}

TEST_F(InspectionTest, RolledSegments_AreWhole) {
  Fill();
  for (const bool verify : {false, true}) {
    const Report report = Inspect(verify);
    ExpectWhole(report);
    const GroupReport& group = GroupOf(report, 3);
    EXPECT_GT(group.segment_files, 2U);
    EXPECT_EQ(group.end.index, LogIndex(rig_.last_index(3)));
    EXPECT_EQ(group.log.end.index, LogIndex(rig_.committed(3)));
    EXPECT_EQ(group.journal_entries, 1U);
    EXPECT_GT(group.end.next_offset, Offset(0));
    if (verify) {
      EXPECT_EQ(report.verified_frames, rig_.last_index(2) + rig_.last_index(3));
    }
  }
}

TEST_F(InspectionTest, RotInASealedSegment_IsFoundByVerifyAlone) {
  Fill();
  disk().FlipBit(FirstSegment(), sizeof(storage::SegmentHeader) + kFrameHeaderSize, 3);
  ExpectWhole(Inspect());
  const Report report = Inspect(/*verify=*/true);
  ExpectDamaged(report, FirstSegment());
  EXPECT_EQ(report.damage.front().position, sizeof(storage::SegmentHeader));
}

TEST_F(InspectionTest, CutSegment_IsNamed) {
  Fill();
  disk().TruncateFile(FirstSegment(), disk().Content(FirstSegment())->size() / 2);
  ExpectDamaged(Inspect(), FirstSegment());
  ExpectDamaged(Inspect(/*verify=*/true), FirstSegment());
}

TEST_F(InspectionTest, MissingSegment_IsNamed) {
  Fill();
  const std::string gone = PathsIn("groups/3/")[1];
  disk().RemoveFile(gone);
  const Report report = Inspect();
  ASSERT_THAT(report.damage, SizeIs(1));
  EXPECT_THAT(report.damage.front().what, HasSubstr("is missing"));
  ExpectDamaged(Inspect(/*verify=*/true), "groups/3/1.0");
}

TEST_F(InspectionTest, SegmentOfAnotherBuild_IsUnreadableAndNotDamaged) {
  Fill();
  const std::string path = FirstSegment();
  std::string content = *disk().Content(path);
  storage::SegmentRig::ChangeHeader(8, &content);
  disk().Overwrite(path, 0, content);
  for (const bool verify : {false, true}) {
    const Report report = Inspect(verify);
    EXPECT_THAT(report.damage, IsEmpty());
    ASSERT_FALSE(report.unreadable.empty());
    EXPECT_EQ(report.unreadable.front().path, path);
    EXPECT_EQ(GroupOf(report, 3).condition, Condition::kUnreadable);
  }
}

TEST_F(InspectionTest, FileThatCannotBeRead_IsNoDamage) {
  Fill();
  disk().FailEvery(1, FirstSegment(), Status(Code::kPermissionDenied, "not yours"));
  const Report report = Inspect();
  EXPECT_THAT(report.damage, IsEmpty());
  ASSERT_THAT(report.unreadable, SizeIs(1));
  EXPECT_EQ(report.unreadable.front().path, FirstSegment());
}

TEST_F(InspectionTest, SuperblockWithADamagedCopy_IsReadByTheOther) {
  Fill();
  for (const uint64_t at : {0, 4096}) {
    disk().FlipBit(kSuperblock, at + 40, 1);
    const Report report = Inspect();
    ASSERT_THAT(report.damage, SizeIs(1));
    EXPECT_EQ(report.damage.front().path, kSuperblock);
    EXPECT_EQ(report.damage.front().position, at);
    EXPECT_EQ(report.superblock.newest.facts, facts_);
    EXPECT_THAT(report.groups, SizeIs(2));
    disk().FlipBit(kSuperblock, at + 40, 1);
  }
  disk().FlipBit(kSuperblock, 40, 1);
  disk().FlipBit(kSuperblock, 4096 + 40, 1);
  EXPECT_EQ(Refusal().code(), Code::kDataLoss);
}

// The last block is a marker, which says that those before it were synced.
TEST_F(InspectionTest, WriteThatACrashTore_IsANoteAndNoDamage) {
  WriteJournal();
  rig_.Crash(/*power=*/false);
  const std::string path = PathsIn("journal/").front();
  const std::string content = *disk().Content(path);
  const uint64_t last_block = content.rfind("MRLJ");
  disk().FlipBit(path, last_block + 20, 0);
  const Report report = Inspect(/*verify=*/true);
  ExpectWhole(report);
  ASSERT_TRUE(report.journal.torn_write.has_value());
  ASSERT_THAT(report.notes, SizeIs(1));
  EXPECT_EQ(report.notes.front().path, path);
  EXPECT_EQ(report.notes.front().position, last_block);
}

TEST_F(InspectionTest, DamagedBlockOfTheJournal_IsNamed_WithTheGroupInDoubt) {
  ASSERT_TRUE(rig_.Start().ok());
  rig_.CreateGroup(2);
  for (int commit = 0; commit < 3; ++commit) {
    rig_.Settle();
    rig_.Append(2, 1, 100);
  }
  rig_.Settle();
  rig_.Crash(/*power=*/false);
  const std::string path = PathsIn("journal/").front();
  const uint64_t block = 2 * 4096;  // behind the head and the group's creation
  disk().FlipBit(path, block + 20, 0);
  const Report report = Inspect();
  ASSERT_FALSE(report.damage.empty());
  EXPECT_EQ(report.damage.front().path, path);
  EXPECT_EQ(report.damage.front().position, block);
  EXPECT_EQ(report.damage.back().group, RaftGroupId(2));
  EXPECT_EQ(GroupOf(report, 2).condition, Condition::kDamaged);
}

TEST_F(InspectionTest, MissingJournal_IsDamage_AndForeignOnesAreUnreadable) {
  Fill();
  storage::SuperblockFacts others = facts_;
  others.journal_key += 1;
  disk().Overwrite(kSuperblock, 0, storage::EncodeSuperblock(others, 9).view());
  const Report foreign = Inspect();
  EXPECT_THAT(foreign.damage, IsEmpty());
  ASSERT_THAT(foreign.unreadable, SizeIs(1));
  EXPECT_THAT(foreign.unreadable.front().what, HasSubstr("another data directory"));
  for (const std::string& path : PathsIn("journal/")) disk().RemoveFile(path);
  const Report missing = Inspect();
  ASSERT_THAT(missing.damage, SizeIs(1));
  EXPECT_THAT(missing.damage.front().what, HasSubstr("although one was written"));
  ASSERT_THAT(missing.notes, SizeIs(1));
  EXPECT_EQ(missing.notes.front().path, "groups/3/1.0");
}

TEST_F(InspectionTest, LeftoversOfWhatIsGone_AreNotes) {
  Fill();
  disk().PutFile("groups/3/9.0/00000000000000000001.segment", "x");
  disk().PutFile("journal/00000099.4096.new", "x");
  disk().PutFile("groups/readme", "x");
  const Report report = Inspect(/*verify=*/true);
  ExpectWhole(report);
  ASSERT_THAT(report.notes, SizeIs(2));
  EXPECT_THAT(report.notes.front().path, StartsWith("journal/"));
  EXPECT_EQ(report.notes.back().path, "groups/3/9.0");
}

}  // namespace
}  // namespace millrace::broker

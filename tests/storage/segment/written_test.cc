// What is written in segments and not committed: who may see it, and what a restart makes of it
// (docs/adr/0010-write-once.md; docs/formats.md, "Segment").
#include <string>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

constexpr SegmentFolder kFolder = SegmentRig::kFolder;

// Three entries that are committed and synced, and `count` that are written and synced.
class WrittenTest : public testing::Test {
 protected:
  WrittenTest() {
    for (int i = 0; i < 3; ++i) rig_.Append(rig_.maker.Batch(1, 40));
    end_ = rig_.Sync();
  }
  void Write(int count, uint32_t bytes = 600) {
    std::vector<Entry> written;
    for (int i = 0; i < count; ++i) written.push_back(rig_.maker.Batch(1, bytes));
    ASSERT_TRUE(rig_.TryWrite(written).ok());
    rig_.entries.insert(rig_.entries.end(), written.begin(), written.end());
  }
  journal::LogRecord LogWrittenTo(uint64_t written) const {
    journal::LogRecord log = rig_.LogUpTo(end_);
    log.SetWritten(LogIndex(written));
    return log;
  }
  Result<RecoveredSegments> Recover(uint64_t written, LogAbove above = LogAbove::kNothing,
                                    LastFile last_file = LastFile::kKept) {
    rig_.Forget();
    return rig_.Recover(LogWrittenTo(written), last_file, above);
  }
  static std::string Path(uint64_t first = 1) { return SegmentPath(kFolder, LogIndex(first)); }

  SegmentRig rig_{21};
  LogPoint end_;
};

TEST_F(WrittenTest, IsRead_OnceItIsCommitted) {
  Write(3);
  EXPECT_EQ(rig_.Read(4, 100).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig_.Read(3, 1 << 20)->size(), 1U) << "a read does not run on into it";
  EXPECT_EQ(rig_.TryCommit(LogIndex(5))->index, LogIndex(5));
  EXPECT_EQ(rig_.reached().written.index, LogIndex(6));
  rig_.ExpectAllReadable(5);
  EXPECT_EQ(rig_.Read(6, 100).status().code(), Code::kOutOfRange);
}

TEST_F(WrittenTest, WhatIsTruncated_IsWrittenOver_AndGoneFromTheFile) {
  Write(3);
  const uint64_t before = rig_.disk.Content(Path())->size();
  ASSERT_TRUE(rig_.TryTruncate(LogIndex(5)).ok());
  EXPECT_LT(rig_.disk.Content(Path())->size(), before);
  rig_.entries.resize(4);
  rig_.maker.ResetTo(EndAfter(rig_.entries.back().frame.header()));
  rig_.maker.set_term(Term(2));
  Write(2, 90);
  ASSERT_TRUE(rig_.TryCommit(LogIndex(6)).ok());
  rig_.ExpectAllReadable(6);
}

TEST_F(WrittenTest, UpToTheNamedEnd_ComesBack_AndNothingAbove) {
  Write(4);
  rig_.Sync();
  rig_.Restart(true);
  const auto recovered = Recover(5);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_EQ(recovered->written.size(), 2U);
  EXPECT_EQ(recovered->written[1].frame.view(), rig_.entries[4].frame.view());
  EXPECT_EQ(rig_.Read(4, 100).status().code(), Code::kOutOfRange);
  rig_.entries.resize(5);
  rig_.maker.ResetTo(EndAfter(rig_.entries.back().frame.header()));
  Write(1);
  ASSERT_TRUE(rig_.TryCommit(LogIndex(6)).ok());
  rig_.ExpectAllReadable(6);
}

TEST_F(WrittenTest, AboveTheNamedEnd_ComesBack_WhereThatGoesOn) {
  Write(4);
  rig_.Sync();
  rig_.Restart(true);
  EXPECT_EQ(Recover(5, LogAbove::kGoesOn)->written.size(), 4U);
  EXPECT_EQ(Recover(0, LogAbove::kGoesOn)->written.size(), 4U);
  EXPECT_EQ(Recover(0)->written.size(), 0U);
}

// Above the named end it may be a write that never ended; below it was synced once.
TEST_F(WrittenTest, RotBelowTheNamedEnd_IsDamage_AndAboveACut) {
  Write(4);
  rig_.Sync();
  rig_.Restart(true);
  const uint64_t third = rig_.disk.Content(Path())->size() - 2 * rig_.entries[5].frame.size() + 50;
  rig_.disk.FlipBit(Path(), third, 3);
  EXPECT_EQ(Recover(5, LogAbove::kGoesOn)->written.size(), 2U);
  const Status damage = Recover(6, LogAbove::kGoesOn).status();
  EXPECT_EQ(damage.code(), Code::kDataLoss);
  EXPECT_NE(damage.message().find(Path()), std::string::npos) << damage;
  EXPECT_NE(damage.message().find("entry 6"), std::string::npos) << damage;
}

TEST_F(WrittenTest, NamedButNotThere_IsDamage) {
  Write(1);
  rig_.Sync();
  rig_.Restart(true);
  EXPECT_EQ(Recover(6).status().code(), Code::kDataLoss);
}

// It would count as durable, and the next power cut would take it.
TEST_F(WrittenTest, WhatAProcessLeftUnsynced_IsSyncedBeforeItCounts) {
  Write(3);
  rig_.Restart(/*power=*/false);
  ASSERT_EQ(Recover(0, LogAbove::kGoesOn)->written.size(), 3U);
  rig_.Restart(/*power=*/true);
  EXPECT_EQ(Recover(0, LogAbove::kGoesOn)->written.size(), 3U);
}

TEST_F(WrittenTest, WhatAFailedSyncLeftInThePageCache_DoesNotCount) {
  Write(3);
  rig_.disk.FailNextSync("groups/");
  EXPECT_FALSE(rig_.TrySync().ok());
  rig_.Restart(/*power=*/false);
  const size_t found = Recover(0, LogAbove::kGoesOn)->written.size();
  rig_.Restart(/*power=*/true);
  EXPECT_EQ(Recover(0, LogAbove::kGoesOn)->written.size(), found);
}

TEST_F(WrittenTest, InTheFileBehindASealedOne_ComesBack) {
  end_ = rig_.Seal("state");
  Write(3);
  rig_.Sync();
  rig_.Restart(true);
  const auto recovered = Recover(0, LogAbove::kGoesOn);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->written.size(), 3U);
  EXPECT_EQ(recovered->snapshot->index, LogIndex(3));
  ASSERT_TRUE(rig_.TryCommit(LogIndex(6)).ok());
  rig_.ExpectAllReadable(6);
}

TEST_F(WrittenTest, FileThatWasBegunAndNeverSynced_Goes) {
  end_ = rig_.Seal("state");
  Write(2);
  rig_.Restart(/*power=*/false);
  rig_.disk.Overwrite(Path(4), 0, std::string(64, '\0'));
  EXPECT_EQ(Recover(0, LogAbove::kGoesOn)->written.size(), 0U);
  EXPECT_FALSE(rig_.disk.Content(Path(4)).has_value());
}

// A footer that was written and not synced: the next file would count on it.
TEST_F(WrittenTest, SealThatAProcessLeftUnsynced_IsSyncedBeforeItCounts) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SegmentRig rig(seed);
    rig.Append(rig.maker.Batch(1, 40));
    const LogPoint end = rig.Sync();
    rig.DieWhileSealing("state", /*operation=*/2);
    const auto found = rig.Recover(end);
    ASSERT_TRUE(found.ok()) << found.status();
    rig.Restart(/*power=*/true);
    const auto again = rig.Recover(end);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->snapshot.has_value(), found->snapshot.has_value()) << seed;
  }
}

TEST_F(WrittenTest, SealThatAFailedSyncLeftInThePageCache_DoesNotCount) {
  rig_.disk.FailNextSync("groups/");
  EXPECT_FALSE(rig_.TrySeal("state").ok());
  rig_.Restart(/*power=*/false);
  const bool is_sealed = Recover(0)->snapshot.has_value();
  rig_.Restart(/*power=*/true);
  EXPECT_EQ(Recover(0)->snapshot.has_value(), is_sealed);
}

// A copy takes the place of the file whose sync failed, with all that large writes had synced.
TEST_F(WrittenTest, SegmentMadeAnew_KeepsTheWrittenEnd) {
  Write(3);
  rig_.Sync();
  Write(1);
  rig_.disk.FailNextSync("groups/");
  EXPECT_FALSE(rig_.TrySync().ok());
  const auto recovered = Recover(6, LogAbove::kNothing, LastFile::kMadeAnew);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->written.size(), 3U);
  rig_.Sync();
  rig_.Restart(true);
  EXPECT_EQ(Recover(6)->written.size(), 3U);
}

TEST_F(WrittenTest, IsVerified_UpToTheNamedEnd) {
  Write(3);
  rig_.Sync();
  EXPECT_TRUE(rig_.Verify(LogWrittenTo(6)).faults.empty());
  EXPECT_EQ(rig_.Verify(LogWrittenTo(6)).frames, 6U);
  rig_.disk.FlipBit(Path(), rig_.disk.Content(Path())->size() - 20, 3);
  EXPECT_EQ(rig_.Verify(LogWrittenTo(6)).faults.size(), 1U);
  EXPECT_TRUE(rig_.Verify(LogWrittenTo(5)).faults.empty());
}

}  // namespace
}  // namespace millrace::storage

// The journal's promises one by one: what a crash in each operation leaves, what never comes back,
// what an error does, and that space and idleness are kept.
#include "storage/journal/journal.h"

#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/journal/file_pool.h"
#include "storage/journal/file_scan.h"
#include "tests/storage/journal/journal_rig.h"

namespace millrace::storage::journal {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// A bit of everything, in one life.
void PlayScript(JournalRig* rig) {
  rig->CreateGroup(1);
  rig->Append(1, 3);
  rig->Settle();
  if (!rig->is_alive()) return;
  rig->CreateGroup(2);
  rig->SetHardState(2, 4, 1);
  rig->Append(2, 2, 30000);
  rig->Rewrite(1, 2, 2);
  rig->RunFor(milliseconds(3));
  if (!rig->is_alive()) return;
  rig->Append(1, 4, 9000);
  rig->Settle();
  if (!rig->is_alive()) return;
  rig->SyncSegment(2, rig->acked_index(2));
  rig->Append(1, 2, 20000);
  rig->RunFor(milliseconds(50));
}

TEST(Journal, CrashInAnyOperation_KeepsWhatWasAcknowledged) {
  uint64_t at = 0;
  bool has_crashed = true;
  while (has_crashed) {
    ++at;
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      JournalRig rig(seed);
      has_crashed = false;
      rig.disk().CrashAtOperation(at, [&] {
        has_crashed = true;
        rig.Crash(false);
      });
      if (rig.Start().ok() && rig.is_alive()) PlayScript(&rig);
      rig.PowerLoss();
      const Status started = rig.Start();
      ASSERT_TRUE(started.ok()) << "operation " << at << " seed " << seed << ": " << started;
      ASSERT_EQ(rig.CompareWithModel(), "") << "operation " << at << " seed " << seed;
      ASSERT_TRUE(rig.recovered().damage.empty()) << "operation " << at << " seed " << seed;
    }
  }
  EXPECT_GT(at, 40U) << "the script is too short to mean anything";
}

TEST(Journal, CrashInAnyOperationOfRecovery_IsRecoveredFrom) {
  for (uint64_t at = 1; at <= 25; ++at) {
    for (uint64_t seed = 1; seed <= 10; ++seed) {
      JournalRig rig(seed);
      ASSERT_TRUE(rig.Start().ok());
      PlayScript(&rig);
      rig.PowerLoss();
      rig.disk().CrashAtOperation(at, [&] { rig.Crash(false); });
      (void)rig.Start();
      rig.PowerLoss();
      ASSERT_TRUE(rig.Start().ok());
      ASSERT_EQ(rig.CompareWithModel(), "") << "operation " << at << " seed " << seed;
    }
  }
}

// A spare that was made shorter is whole, and too short to be used.
TEST(Journal, FileBytesThatAreChanged_AreNoDamage) {
  JournalRig rig(3, {.file_bytes = 64 << 10});
  for (const uint64_t file_bytes : {64 << 10, 256 << 10, 16 << 10, 1 << 20, 32 << 10}) {
    rig.options().file_bytes = file_bytes;
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_TRUE(rig.recovered().damage.empty()) << "file_bytes=" << file_bytes;
    EXPECT_EQ(rig.CompareWithModel(), "") << "file_bytes=" << file_bytes;
    if (file_bytes == 64 << 10) rig.CreateGroup(1);
    rig.Append(1, 2, 1000);
    rig.Settle();
    rig.RunFor(milliseconds(50));  // and a spare is made
    rig.Crash(false);
  }
}

TEST(Journal, FilesOfOtherNames_AreLeftAlone) {
  JournalRig rig(3);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 2);
  rig.Settle();
  rig.PowerLoss();
  for (const char* name :
       {"journal/00000099.journal", "journal/99.4096.journal", "journal/notes"}) {
    rig.disk().PutFile(name, "mine");
  }
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_TRUE(rig.recovered().damage.empty());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_EQ(rig.disk().Content("journal/99.4096.journal"), "mine");
}

TEST(JournalFileName, IsReadBack_AndNothingElseIsOne) {
  for (const JournalFileName& name :
       {JournalFileName{.number = 12, .bytes = 33554432},
        JournalFileName{.number = 123456789, .bytes = 4096, .is_new = true}}) {
    EXPECT_EQ(JournalFileName::Parse(name.ToString()), name);
  }
  for (const char* name :
       {"", ".", "00000012", "00000012.journal", "12.4096.journal", "00000012.4096",
        "00000012.4096.journal2", "00000012.04096.journal", "00000012.-1.journal",
        "00000000.4096.journal", "00000012.4096.new.journal",
        "00000012.99999999999999999999.journal", "lost+found"}) {
    EXPECT_FALSE(JournalFileName::Parse(name).has_value()) << name;
  }
}

// Each start begins a file. Entries that nobody commits would keep all of them, and the journal
// full for good: its followers' entries would be refused, which alone could commit these.
TEST(Journal, StartsOneAfterTheOther_DoNotFillIt) {
  JournalRig rig(11, {.file_bytes = 64 << 10, .live_files_max = 4});
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  for (int start = 0; start < 20; ++start) {
    rig.Append(1, 2, 500);
    rig.Settle();
    rig.RunFor(milliseconds(100));
    rig.Crash(false);
    ASSERT_TRUE(rig.Start().ok());
    ASSERT_EQ(rig.CompareWithModel(), "");
    rig.Settle();
    rig.RunFor(milliseconds(100));
    EXPECT_LE(rig.journal().live_files(), 4U) << "start=" << start;
    EXPECT_LT(rig.journal().client().pressure(), 0.5) << "start=" << start;
  }
}

// What must be written together again is, and then there is peace.
TEST(Journal, AJournalWithNothingToGiveBack_BeginsNoFiles) {
  JournalRig rig(12, {.file_bytes = 64 << 10, .live_files_max = 4});
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  for (int i = 0; i < 12; ++i) {
    rig.Append(1, 1, 20 << 10);
    rig.Settle();
  }
  rig.RunFor(milliseconds(100));
  const uint64_t written = rig.journal().durable_lsn();
  rig.RunFor(milliseconds(1000));
  EXPECT_LE(rig.journal().durable_lsn(), written + 1) << "a marker at most";
}

TEST(Journal, StaleBlocksPastACut_NeverComeBack) {
  JournalRig rig(3, {.file_bytes = 256 << 10});
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 1);
  rig.Settle();
  // Given a commit of several blocks, the first of them torn and the others whole, as a power cut
  // in its write leaves them.
  rig.Append(1, 3, 9000);
  rig.Settle();
  rig.Crash(false);
  const std::string path = rig.Files().front();
  const FileImage image{.name = path, .bytes = Bytes::Own(*rig.disk().Content(path))};
  const ScannedFile scan = ScanFile(rig.options().key, image);
  const FoundBlock& torn = scan.blocks[scan.blocks.size() - 3];
  rig.disk().FlipBit(path, torn.position + 200, 1);
  rig.ForgiveLoss();
  // When it is cut, and other entries are written instead,
  ASSERT_TRUE(rig.Start().ok());
  ASSERT_EQ(rig.CompareWithModel(), "");
  ASSERT_EQ(rig.last_index(1), 1U);
  EXPECT_TRUE(rig.recovered().damage.empty()) << "a torn tail is no damage";
  rig.Append(1, 1);
  rig.Settle();
  rig.RunFor(milliseconds(50));
  rig.PowerLoss();
  // then the blocks behind the cut are still there, and mean nothing.
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_EQ(rig.last_index(1), 2U);
}

TEST(Journal, TruncatedEntriesOfAnOlderFile_StayTruncated_AcrossCheckpoints) {
  JournalRig rig(4);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.CreateGroup(2);
  rig.Append(1, 5);
  rig.Settle();
  rig.Rewrite(1, 3, 1);
  rig.Settle();
  const uint64_t first = rig.journal().live_files();
  for (int i = 0; i < 4; ++i) {
    rig.Append(2, 3, 15000);
    rig.Settle();
  }
  ASSERT_GT(rig.journal().live_files(), first) << "no checkpoint was written";
  for (int restart = 0; restart < 3; ++restart) {
    rig.PowerLoss();
    ASSERT_TRUE(rig.Start().ok());
    ASSERT_EQ(rig.CompareWithModel(), "");
    EXPECT_EQ(rig.last_index(1), 3U);
  }
}

TEST(Journal, FilesAreRecycled_AndTheirOldBlocksMeanNothing) {
  JournalRig rig(5);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  for (int i = 0; i < 120; ++i) {
    rig.Append(1, 1, 500 + static_cast<uint64_t>(i % 13) * 1000);
    rig.Settle();
    rig.SyncSegment(1, rig.acked_index(1));
  }
  rig.Settle();
  EXPECT_LE(rig.Files().size(), 6U);
  bool has_old_blocks = false;
  for (const std::string& path : rig.Files()) {
    const FileImage image{.name = path, .bytes = Bytes::Own(*rig.disk().Content(path))};
    std::set<uint64_t> sequences;
    for (const FoundBlock& block : ScanFile(rig.options().key, image).blocks) {
      sequences.insert(block.header.file_sequence);
    }
    has_old_blocks = has_old_blocks || sequences.size() > 1;
  }
  EXPECT_TRUE(has_old_blocks);
  rig.PowerLoss();
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// Replay begins with the last file: of the others a start looks at what they begin with.
TEST(Journal, FilesThatReplayDoesNotNeed_AreNotReadThrough) {
  JournalRig rig(5, {.file_bytes = 256 << 10});
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  for (int i = 0; i < 6; ++i) {
    rig.Append(1, 1, 180 << 10);
    rig.Settle();
  }
  rig.SyncSegment(1, rig.acked_index(1));
  ASSERT_TRUE(rig.StopCleanly());
  rig.Crash(false);
  uint64_t bytes = 0;
  for (const std::string& path : rig.Files()) bytes += rig.disk().Content(path)->size();
  ASSERT_GE(bytes, uint64_t{5 * 256 << 10});
  const uint64_t before = rig.disk().bytes_read();
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_LT(rig.disk().bytes_read() - before, uint64_t{3 * 256 << 10});
}

TEST(Journal, EntriesThatCannotBeCommitted_AreCopiedForward) {
  JournalRig rig(6);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.CreateGroup(2);
  rig.Append(1, 3);  // no segment ever takes these
  for (int i = 0; i < 200; ++i) {
    rig.Append(2, 2, 6000);
    rig.Settle();
    rig.SyncSegment(2, rig.acked_index(2));
  }
  EXPECT_LE(rig.journal().live_files(), rig.options().live_files_max);
  EXPECT_LT(rig.journal().client().pressure(), 1.0);
  rig.PowerLoss();
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_EQ(rig.last_index(1), 3U);
}

TEST(Journal, GroupsThatPinOldFiles_AreAskedForTheirSegments) {
  JournalRig rig(7);
  ASSERT_TRUE(rig.Start().ok());
  std::set<uint64_t> asked;
  rig.journal().SetPinListener([&](const std::vector<RaftGroupId>& groups) {
    for (const RaftGroupId group : groups) asked.insert(group.value());
  });
  rig.CreateGroup(1);
  rig.CreateGroup(2);
  rig.Append(1, 1);
  for (int i = 0; i < 30; ++i) {
    rig.Append(2, 2, 6000);
    rig.Settle();
  }
  EXPECT_EQ(asked, (std::set<uint64_t>{1, 2}));
  EXPECT_GT(rig.journal().client().pressure(), 0.5);
}

TEST(Journal, SpaceComesBack_ThoughAppendsAreRefused) {
  JournalRig rig(8);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  while (rig.journal().client().pressure() < 1.0) {
    rig.Append(1, 2, 6000);
    rig.Settle();
  }
  rig.SyncSegment(1, rig.acked_index(1));
  rig.Settle();
  rig.RunFor(milliseconds(50));
  EXPECT_LE(rig.journal().live_files(), 2U);
}

TEST(Journal, EntryLargerThanAFile_IsWritten) {
  JournalRig rig(9);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 2, 300000);
  rig.Settle();
  EXPECT_EQ(rig.acked_index(1), 2U);
  rig.PowerLoss();
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_EQ(rig.last_index(1), 2U);
}

TEST(Journal, FailedSync_EndsTheProcessAndAcknowledgesNothing) {
  JournalRig rig(10);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Settle();
  rig.RunFor(milliseconds(100));  // the spare is made, so that the next sync is the file's in use
  rig.disk().FailNextSync("journal/");
  rig.Append(1, 1);
  rig.Append(1, 1);
  rig.RunFor(milliseconds(100));
  EXPECT_NE(rig.failure().find("sync journal/"), std::string::npos) << rig.failure();
  EXPECT_EQ(rig.outstanding(), 2U);
  rig.Crash(false);
  // The page cache would show the lost block; recovery reads past it.
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  EXPECT_EQ(rig.last_index(1), 0U);
}

// Appends until the file in use and its spare are full. Ends while what was submitted last waits.
void FillWithoutNextFile(JournalRig& rig) {
  for (int i = 0; i < 40 && rig.outstanding() == 0; ++i) {
    rig.Append(1, 1, 6000);
    rig.RunFor(milliseconds(20));
  }
}

TEST(Journal, NextFileThatCannotBeMade_IsFull_AndNothingIsLost) {
  JournalRig rig(16);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Settle();
  rig.RunFor(milliseconds(100));
  Status full;
  rig.journal().SetFullListener([&](const Status& why) { full = why; });
  rig.disk().SetCapacity(4096);
  FillWithoutNextFile(rig);
  EXPECT_GT(rig.outstanding(), 0U);
  EXPECT_EQ(full.code(), Code::kResourceExhausted) << full;
  EXPECT_GT(rig.journal().client().pressure(), 1.5);
  EXPECT_EQ(rig.failure(), "");
  for (const std::string& path : rig.disk().Paths()) EXPECT_FALSE(path.ends_with(".new")) << path;
  rig.disk().SetCapacity(UINT64_MAX);
  rig.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(rig.outstanding(), 0U);
  EXPECT_TRUE(full.ok()) << full;
  EXPECT_LT(rig.journal().client().pressure(), 1);
  rig.PowerLoss();
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// A broker on a full disk is stopped like any other; what was not acknowledged is not waited for.
TEST(Journal, StopOnAFullDisk_DoesNotWaitForAFile) {
  JournalRig rig(20);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Settle();
  rig.RunFor(milliseconds(100));
  rig.disk().SetCapacity(4096);
  FillWithoutNextFile(rig);
  ASSERT_GT(rig.outstanding(), 0U);
  EXPECT_TRUE(rig.StopCleanly());
  EXPECT_GT(rig.outstanding(), 0U) << "nobody was told that they are durable";
  rig.PowerLoss();
  rig.disk().SetCapacity(UINT64_MAX);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// A record that is longer than a file wants one of its own.
TEST(Journal, SparesThatAreTooShortForWhatWaits_AreNoNextFile) {
  JournalRig rig(21);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Settle();
  rig.RunFor(milliseconds(100));  // and a spare is made
  std::vector<Code> told;
  rig.journal().SetFullListener([&](const Status& why) { told.push_back(why.code()); });
  rig.disk().SetCapacity(4096);
  rig.Append(1, 1, rig.options().file_bytes);
  rig.RunFor(std::chrono::seconds(10));
  EXPECT_EQ(rig.outstanding(), 1U);
  EXPECT_THAT(told, testing::ElementsAre(Code::kResourceExhausted)) << "once, for all its tries";
  EXPECT_GT(rig.journal().client().pressure(), 1.5);
  rig.disk().SetCapacity(UINT64_MAX);
  rig.RunFor(std::chrono::seconds(5));
  EXPECT_EQ(rig.outstanding(), 0U);
  EXPECT_THAT(told, testing::ElementsAre(Code::kResourceExhausted, Code::kOk));
  rig.disk().SetCapacity(4096);
  rig.Append(1, 1, rig.options().file_bytes);
  rig.RunFor(milliseconds(100));
  EXPECT_TRUE(rig.StopCleanly()) << "it waits for no file";
}

// Making one, each call fails in its turn.
TEST(Journal, AnyCallOfMakingANextFile_MayFail) {
  uint64_t failed = 0;
  for (bool has_failed = true; has_failed;) {
    JournalRig rig(17);
    ASSERT_TRUE(rig.Start().ok());
    has_failed = false;
    ++failed;
    rig.disk().FailCall(failed, Unavailable("Input/output error"),
                        [&](sim::SimDisk::Kind, const std::string&) { has_failed = true; });
    rig.RunFor(std::chrono::seconds(2));
    rig.disk().ForgetFaults();
    EXPECT_EQ(rig.failure(), "") << "call=" << failed;
    EXPECT_LT(rig.journal().client().pressure(), 1) << "call=" << failed;
    rig.CreateGroup(1);
    for (int i = 0; i < 40; ++i) {
      rig.Append(1, 1, 6000);
      rig.Settle();
    }
    rig.PowerLoss();
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_EQ(rig.CompareWithModel(), "") << "call=" << failed;
    EXPECT_TRUE(rig.recovered().damage.empty()) << "call=" << failed;
  }
  EXPECT_GT(failed, 4U);
}

TEST(Journal, StartOnAFullDisk_UsesTheSpare) {
  JournalRig rig(18);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 2);
  rig.Settle();
  rig.RunFor(milliseconds(100));
  rig.Crash(true);
  rig.disk().SetCapacity(0);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  rig.Append(1, 2);
  rig.Settle();
  EXPECT_EQ(rig.outstanding(), 0U);
}

TEST(Journal, StartThatCannotMakeAFile_WaitsUntilItCan) {
  JournalRig rig(19);
  rig.disk().SetCapacity(4096);
  rig.world().After(std::chrono::seconds(5), [&] { rig.disk().SetCapacity(UINT64_MAX); });
  EXPECT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.failure(), "");
}

TEST(Journal, IdleJournal_DoesNothingAfterItsMarker) {
  JournalRig rig(11);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 1);
  rig.Settle();
  rig.RunFor(milliseconds(100));
  const uint64_t operations = rig.disk().operations();
  rig.RunFor(hours(10));
  EXPECT_EQ(rig.disk().operations(), operations);
}

TEST(Journal, CleanStop_WritesEverythingAndAMarker) {
  JournalRig rig(12);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 5);
  ASSERT_TRUE(rig.StopCleanly());
  EXPECT_EQ(rig.outstanding(), 0U);
  const uint64_t last = rig.journal().durable_lsn();
  const std::string path = rig.Files().front();
  const FileImage image{.name = path, .bytes = Bytes::Own(*rig.disk().DurableImage(path))};
  const ScannedFile scan = ScanFile(rig.options().key, image);
  EXPECT_EQ(scan.blocks.back().header.lsn, last);
  EXPECT_EQ(scan.blocks.back().header.flags, kMarkerBlock);
  EXPECT_EQ(scan.blocks.back().header.durable_lsn, last - 1);
}

TEST(Journal, MissingJournal_IsDataLoss_WhereOneWasWritten) {
  JournalRig rig(13);
  rig.options().must_exist = true;
  const Status status = rig.Start();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("journal"), std::string::npos) << status;
}

TEST(Journal, AnotherDirectorysJournal_IsRefused) {
  JournalRig rig(14);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Settle();
  rig.Crash(false);
  rig.options().key = 99;
  EXPECT_EQ(rig.Start().code(), Code::kFailedPrecondition);
}

TEST(Journal, UnreadableHeadAlone_CostsNothing) {
  JournalRig rig(15);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(1);
  rig.Append(1, 2);
  rig.Settle();
  rig.PowerLoss();
  ASSERT_TRUE(rig.Start().ok());  // begins a second file, with its head alone
  rig.Crash(false);
  rig.disk().FlipBit(rig.Files().back(), 20, 1);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

}  // namespace
}  // namespace millrace::storage::journal

// What a group's segments are after a restart: below the synced end all of it, or an error that
// names the damage; above it nothing.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

constexpr RaftGroupId kGroup = SegmentRig::kGroup;
constexpr SegmentFolder kFolder = SegmentRig::kFolder;

std::string FirstPath() { return SegmentPath(kFolder, LogIndex(1)); }

TEST(SegmentRecovery, NothingThere_IsAnEmptyGroup) {
  SegmentRig rig(1);
  const auto recovered = rig.Recover(LogPoint());
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  EXPECT_TRUE(recovered->term_starts.empty());
}

TEST(SegmentRecovery, StateAndTerms_AreThoseOfTheSegments) {
  SegmentRig rig(2);
  const LogPoint end = rig.Fill(2, 6, 100);
  rig.Restart(true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_TRUE(recovered->snapshot.has_value());
  EXPECT_EQ(recovered->snapshot->index, LogIndex(12));
  EXPECT_EQ(recovered->snapshot->state.view(), "state@12");
  EXPECT_EQ(recovered->next_offset, end.next_offset);
  ASSERT_EQ(recovered->term_starts.size(), 6U);
  EXPECT_EQ(recovered->term_starts[3].first_index, LogIndex(12));
  EXPECT_GT(recovered->active.bytes, 0U);
}

TEST(SegmentRecovery, LastSegmentSealed_KeepsItsState_AndTheNextBeginsANewFile) {
  SegmentRig rig(3);
  rig.Append(rig.maker.Batch(1, 10));
  const LogPoint end = rig.Seal("sealed");
  rig.Restart(true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_TRUE(recovered->snapshot.has_value());
  EXPECT_EQ(recovered->snapshot->state.view(), "sealed");
  EXPECT_EQ(recovered->active.bytes, 0U);
  rig.Append(rig.maker.Batch(1, 10));
  rig.ExpectAllReadable(2);
  EXPECT_TRUE(rig.disk.Content(SegmentPath(kFolder, LogIndex(2))).has_value());
}

TEST(SegmentRecovery, SealedWithoutAState_LeavesTheStateBefore) {
  SegmentRig rig(8);
  rig.Append(rig.maker.Batch(1, 10));
  rig.Seal("older");
  rig.Append(rig.maker.Batch(1, 10));
  const LogPoint end = rig.Seal(std::nullopt);
  rig.Restart(true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_TRUE(recovered->snapshot.has_value());
  EXPECT_EQ(recovered->snapshot->index, LogIndex(1));
  EXPECT_EQ(recovered->snapshot->state.view(), "older");
}

TEST(SegmentRecovery, AllSealedWithoutAState_IsNoSnapshot) {
  SegmentRig rig(9);
  rig.Append(rig.maker.Batch(1, 10));
  const LogPoint end = rig.Seal(std::nullopt);
  rig.Restart(true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  rig.ExpectAllReadable(1);
}

TEST(SegmentRecovery, BytesAboveTheSegmentsEnd_AreDiscardedAndWrittenAgain) {
  SegmentRig rig(4);
  rig.Append(rig.maker.Batch(2, 100));
  const LogPoint end = rig.Sync();
  rig.Append(rig.maker.Batch(2, 100, 'a'));
  rig.Seal("above");
  rig.Append(rig.maker.Batch(2, 100, 'b'));
  rig.Sync();
  rig.Restart(false);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  EXPECT_EQ(rig.Read(2, 100).status().code(), Code::kOutOfRange);
  EXPECT_FALSE(rig.disk.Content(SegmentPath(kFolder, LogIndex(3))).has_value());
  rig.entries.resize(1);
  rig.maker.ResetTo(end);
  for (int i = 0; i < 4; ++i) rig.Append(rig.maker.Batch(1, 30, 'c'));
  rig.ExpectAllReadable(5);
}

// A file above the synced end was removed, but its name came back with the next power cut, when the
// synced end had passed its first index.
TEST(SegmentRecovery, DiscardedFile_NeverComesBack) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SegmentRig rig(seed);
    rig.Append(rig.maker.Batch(2, 100));
    const LogPoint end = rig.Sync();
    rig.Append(rig.maker.Batch(2, 100));
    rig.Seal("above");
    rig.Append(rig.maker.Batch(2, 100));
    rig.Sync();
    rig.Restart(true);
    ASSERT_TRUE(rig.Recover(end).ok());
    // The process that removed it may die before it syncs anything.
    rig.Restart(false);
    ASSERT_TRUE(rig.Recover(end).ok());
    rig.entries.resize(1);
    rig.maker.ResetTo(end);
    for (int i = 0; i < 4; ++i) rig.Append(rig.maker.Batch(1, 30));
    const LogPoint later = rig.Sync();
    rig.Restart(true);
    const auto recovered = rig.Recover(later);
    ASSERT_TRUE(recovered.ok()) << "seed=" << seed << " " << recovered.status();
    rig.ExpectAllReadable(5);
  }
}

TEST(SegmentRecovery, UnsyncedTail_MayBeTornInAnyWay) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SegmentRig rig(seed);
    const LogPoint end = rig.Fill(1, 4, 700);
    for (int i = 0; i < 5; ++i) {
      const Status status = rig.TryAppend({rig.maker.Batch(1, 900)});
      ASSERT_TRUE(status.ok()) << status;
    }
    rig.Restart(true);
    ASSERT_TRUE(rig.Recover(end).ok()) << "seed=" << seed;
    rig.ExpectAllReadable(8);
  }
}

// A producer's payload that ends like a sealed segment is a payload.
TEST(SegmentRecovery, S22_ForgedFooter_IsNotBelieved) {
  SegmentRig rig(5);
  rig.Append(rig.maker.Batch(1, 100));
  internal::v1::SegmentFooter footer;
  footer.set_group_id(kGroup.value());
  footer.set_first_index(1);
  footer.set_last_index(1);
  footer.set_chain(rig.maker.end().chain);
  footer.set_number(kFolder.number.value());
  const uint64_t frames_end =
      sizeof(SegmentHeader) + rig.entries[0].frame.size() + kFrameHeaderSize;
  std::string payload;
  for (const Bytes& piece : EncodeSegmentEnding(footer, frames_end, Bytes::CopyOf("forged"))) {
    payload += piece.view();
  }
  payload.insert(0, (8 - payload.size() % 8) % 8, 'x');
  rig.Append(rig.maker.BatchOf(1, payload));
  const LogPoint end = rig.Sync();
  rig.Restart(true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  rig.ExpectAllReadable(2);
}

struct Damage {
  const char* name;
  std::function<void(sim::SimDisk&)> inflict;
  const char* names;  // part of the message
};

class SegmentDamage : public testing::TestWithParam<Damage> {};

TEST_P(SegmentDamage, BelowTheSegmentsEnd_IsNamed_AndNothingIsRemoved) {
  SegmentRig rig(6);
  const LogPoint end = rig.Fill(2, 5, 200);
  rig.Restart(true);
  GetParam().inflict(rig.disk);
  const std::vector<std::string> before = rig.disk.Paths();
  const Status why = rig.RecoverDamaged(end);
  EXPECT_EQ(why.code(), Code::kDataLoss) << why;
  EXPECT_NE(why.message().find(GetParam().names), std::string::npos) << why;
  EXPECT_EQ(rig.disk.Paths(), before);
}

std::string Middle() { return SegmentPath(kFolder, LogIndex(6)); }
std::string Last() { return SegmentPath(kFolder, LogIndex(11)); }

INSTANTIATE_TEST_SUITE_P(
    Each, SegmentDamage,
    testing::Values(
        Damage{"FirstMissing", [](auto& disk) { disk.RemoveFile(FirstPath()); }, "groups/7/3.0"},
        Damage{"MiddleMissing", [](auto& disk) { disk.RemoveFile(Middle()); }, "entry 6"},
        Damage{"LastMissing", [](auto& disk) { disk.RemoveFile(Last()); }, "entry 11"},
        Damage{"SealedCutOff", [](auto& disk) { disk.TruncateFile(Middle(), 100); },
               "0006.segment"},
        Damage{"LastCutOff", [](auto& disk) { disk.TruncateFile(Last(), 100); }, "0011.segment"},
        Damage{"LastEmpty", [](auto& disk) { disk.TruncateFile(Last(), 0); }, "0011.segment"},
        Damage{"HeaderRot", [](auto& disk) { disk.FlipBit(Middle(), 20, 1); }, "0006.segment"},
        Damage{"LastFrameRot",
               [](auto& disk) { disk.FlipBit(Last(), sizeof(SegmentHeader) + 130, 1); },
               "at byte 192"},
        Damage{"StrayFile",
               [](auto& disk) { disk.PutFile(SegmentPath(kFolder, LogIndex(8)), "stray"); },
               "00000000000000000008.segment"}),
    [](const auto& damage) { return damage.param.name; });

TEST(SegmentRecovery, AnyBitFlippedInASealedSegment_IsFound_AtStartOrWhenRead) {
  SegmentRig original(7);
  const LogPoint end = original.Fill(1, 3, 40);
  const std::string content = *original.disk.Content(FirstPath());
  const std::string last = *original.disk.Content(SegmentPath(kFolder, LogIndex(4)));
  for (uint64_t byte = 0; byte < content.size(); ++byte) {
    SegmentRig rig(8);
    rig.disk.PutFile(FirstPath(), content);
    rig.disk.PutFile(SegmentPath(kFolder, LogIndex(4)), last);
    rig.disk.FlipBit(FirstPath(), byte, byte % 8);
    const auto recovered = rig.Recover(end);
    // Rot in the state costs that alone: what it covers is applied again.
    bool is_found = !recovered.ok() || !recovered->snapshot.has_value();
    for (uint64_t index = 1; index <= 3 && !is_found; ++index) is_found = !rig.Read(index, 1).ok();
    EXPECT_TRUE(is_found) << "byte=" << byte;
  }
}

// A file that is not damaged, but says what another build knows.
TEST(SegmentRecovery, SegmentsOfAnotherBuild_AreNoDamage_AndStayAsTheyAre) {
  for (const uint64_t first : {1, 4}) {  // a sealed one, and the last
    for (const size_t at : {8, 56, 60}) {
      SegmentRig rig(15);
      const LogPoint end = rig.Fill(1, 3, 40);
      rig.Append(rig.maker.Batch(1, 10));  // above the end, to be discarded
      rig.Restart(false);
      const std::string path = SegmentPath(kFolder, LogIndex(first));
      std::string content = rig.disk.Content(path).value();
      SegmentRig::ChangeHeader(at, &content);
      rig.disk.PutFile(path, content);
      rig.disk.PutFile(path + ".new", "half");
      const uint64_t operations = rig.disk.operations();
      EXPECT_EQ(rig.Recover(end).status().code(), Code::kUnimplemented) << at;
      EXPECT_EQ(rig.disk.operations(), operations) << at;
      EXPECT_EQ(rig.disk.Content(path), content);
    }
  }
}

TEST(SegmentRecovery, SegmentOfAnotherReplica_IsDamage) {
  SegmentRig rig(16);
  const LogPoint end = rig.Fill(0, 3, 40);
  rig.Restart(true);
  std::string content = rig.disk.Content(FirstPath()).value();
  SegmentRig::ChangeHeader(52, &content);
  rig.disk.PutFile(FirstPath(), content);
  EXPECT_EQ(rig.RecoverDamaged(end).code(), Code::kDataLoss);
}

TEST(SegmentRecovery, FilesOfOthers_AreLeftAlone) {
  SegmentRig rig(9);
  const LogPoint end = rig.Fill(1, 3, 40);
  rig.disk.PutFile("groups/7/3.0/notes.txt", "mine");
  rig.disk.PutFile("groups/7/3.0/5.segment", "mine");
  rig.disk.PutFile("groups/7/3.0/notes.new", "mine");
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(end).ok());
  for (const char* name : {"notes.txt", "5.segment", "notes.new"}) {
    EXPECT_EQ(rig.disk.Content(std::string("groups/7/3.0/") + name), "mine") << name;
  }
}

// Fails a sync of what was appended after the synced end.
LogPoint FailASync(SegmentRig& rig) {
  const LogPoint end = rig.Fill(1, 6, 100);
  rig.Append(rig.maker.Batch(2, 700));
  rig.disk.FailNextSync("groups/");
  EXPECT_FALSE(rig.TrySync().ok());
  rig.Forget();
  return end;
}

TEST(SegmentMadeAnew, HoldsWhatWasSynced_InAnotherFile_AndGoesOn) {
  SegmentRig rig(11);
  const LogPoint end = FailASync(rig);
  ASSERT_TRUE(rig.Recover(end, LastFile::kMadeAnew).ok());
  const Entry lost = rig.entries.back();
  rig.entries.pop_back();
  rig.Append(lost);
  const LogPoint later = rig.Sync();
  EXPECT_EQ(later.index, end.index + 1);
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(later).ok());
  rig.ExpectAllReadable(later.index.value());
}

TEST(SegmentMadeAnew, TheFileThatHadTheError_IsNotSyncedAgain) {
  SegmentRig rig(12);
  const LogPoint end = FailASync(rig);
  const auto file = rig.disk.Identity(rig.Files().back());
  ASSERT_TRUE(rig.Recover(end, LastFile::kMadeAnew).ok());
  EXPECT_NE(rig.disk.Identity(rig.Files().back()), file);
}

TEST(SegmentMadeAnew, RotBelowTheSegmentsEnd_IsDataLoss_AndTheFileStays) {
  SegmentRig rig(13);
  const LogPoint end = FailASync(rig);
  const std::string path = rig.Files().back();
  rig.disk.FlipBit(path, 130, 3);
  const std::string damaged = *rig.disk.Content(path);
  const Status status = rig.Recover(end, LastFile::kMadeAnew).status();
  EXPECT_EQ(status.code(), Code::kDataLoss) << status;
  EXPECT_EQ(rig.disk.Content(path), damaged);
}

// Each call fails in its turn; then power is lost, or the same is tried again.
TEST(SegmentMadeAnew, AnyCallMayFail_AndNothingSyncedIsLost) {
  for (const bool power : {false, true}) {
    uint64_t failed = 0;
    for (bool has_failed = true; has_failed;) {
      SegmentRig rig(14);
      const LogPoint end = FailASync(rig);
      rig.disk.FailCall(++failed, ResourceExhausted("No space left on device"));
      const Status status = rig.Recover(end, LastFile::kMadeAnew).status();
      has_failed = !status.ok();
      EXPECT_NE(status.code(), Code::kDataLoss) << "call=" << failed << " " << status;
      rig.disk.ForgetFaults();
      if (power) rig.Restart(true);
      if (!power) rig.Forget();
      const auto found = rig.Recover(end, power ? LastFile::kKept : LastFile::kMadeAnew);
      ASSERT_TRUE(found.ok()) << "call=" << failed << " " << found.status();
      rig.ExpectAllReadable(end.index.value());
      for (const std::string& path : rig.disk.Paths()) EXPECT_FALSE(path.ends_with(".new")) << path;
    }
    EXPECT_GT(failed, 8U);
  }
}

TEST(SegmentFault, AfterTheFirstError_NothingIsTriedAgain) {
  SegmentRig rig(10);
  rig.Append(rig.maker.Batch(1, 100));
  rig.disk.FailNextSync("groups/");
  EXPECT_FALSE(rig.TrySync().ok());
  EXPECT_FALSE(rig.TrySync().ok());
  EXPECT_FALSE(rig.TryAppend({rig.maker.Batch(1, 100)}).ok());
  EXPECT_FALSE(rig.TrySeal("state").ok());
}

}  // namespace
}  // namespace millrace::storage

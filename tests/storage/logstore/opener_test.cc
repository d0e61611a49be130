// What opening a store makes of what it finds beside whole replicas: of those in doubt, of folders
// that are no replica's, of segments that cannot be read now or ever, and of groups without a name.
// That each such replica is silent while the others go on is in log_store_test.cc.
#include "storage/logstore/opener.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/storage/logstore/log_store_rig.h"

namespace millrace::storage {
namespace {

constexpr char kSegment[] = "groups/2/1.0/00000000000000000001.segment";
// In a folder of the group's that no record of the journal names: of a log that did not take
// another one's place.
constexpr char kLeftover[] = "groups/2/1.7/00000000000000000001.segment";

const Status kNoDescriptors = ResourceExhausted("Too many open files");

void CreateWithEntries(LogStoreRig& rig, uint64_t group) {
  rig.CreateGroup(group);
  rig.Append(group, 8, 400);
  rig.Settle();
  while (rig.committed(group) < 8) rig.Commit(group);
  rig.RunFor(std::chrono::milliseconds(200));
}

// Two groups with committed entries in segments.
void Fill(LogStoreRig& rig) {
  ASSERT_TRUE(rig.Start().ok());
  for (const uint64_t group : {2, 3}) CreateWithEntries(rig, group);
}

std::vector<std::string> JournalFiles(LogStoreRig& rig) {
  std::vector<std::string> files = rig.disk().Paths();
  std::erase_if(files, [](const std::string& path) { return !path.ends_with(".journal"); });
  return files;
}

// What `change` writes to the journal is damaged at once, in its middle.
template <typename Change>
void DamageInJournal(LogStoreRig& rig, Change change) {
  std::map<std::string, std::string> before;
  for (const std::string& path : JournalFiles(rig)) before[path] = *rig.disk().Content(path);
  change();
  rig.Settle();
  for (const auto& [path, content] : before) {
    const std::string now = *rig.disk().Content(path);
    const auto first = std::ranges::mismatch(content, now).in2;
    if (first == now.end()) continue;
    // Past the block's header, in its records.
    rig.disk().FlipBit(path, static_cast<uint64_t>(first - now.begin()) + 80, 3);
    return;
  }
  FAIL() << "nothing was written";
}

bool Exists(LogStoreRig& rig, const std::string& path) {
  return std::ranges::count(rig.disk().Paths(), path) != 0;
}

void ChangeToAnotherBuilds(LogStoreRig& rig, const std::string& path) {
  std::string theirs = *rig.disk().Content(path);
  SegmentRig::ChangeHeader(8, &theirs);
  rig.disk().PutFile(path, theirs);
}

// Nothing waits on a stack for the next group.
TEST(Opener, ThousandsOfGroupsInDoubt_AreOpenedAllTheSame) {
  constexpr uint64_t kGroups = 20'000;
  LogStoreRig rig(1);
  rig.options.journal.file_bytes = 16 << 20;
  ASSERT_TRUE(rig.Start().ok());
  for (uint64_t group = 1; group <= kGroups; ++group) rig.CreateGroup(group);
  rig.Settle();
  DamageInJournal(rig, [&] { rig.SetTerm(1, 5); });
  rig.SetTerm(2, 5);
  rig.Settle();
  rig.Crash(false);
  ASSERT_TRUE(rig.Start().ok());
  uint64_t doubtful = 0;
  for (uint64_t group = 1; group <= kGroups; ++group) {
    const raft::RecoveredReplica* replica = rig.Recovered(group);
    ASSERT_NE(replica, nullptr) << group;
    doubtful += replica->health.ok() ? 0 : 1;
  }
  EXPECT_EQ(doubtful, kGroups - 1) << "all but the one whose promises were stated again";
}

// As segments were read in pieces, which entries of them would keep in memory as long as the log's
// tail has these: frames of one piece follow each other there, and each one of the journal's has
// memory of its own.
TEST(Opener, OfWhatJournalAndSegmentsHave_TheJournalsCopyIsKept) {
  LogStoreRig rig(12);
  rig.rolls = false;
  rig.options.idle_sync_delay = std::chrono::seconds(1);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(2);
  rig.Append(2, 8, 400);
  rig.Settle();
  while (rig.committed(2) < 8) rig.Commit(2);
  rig.RunFor(std::chrono::milliseconds(100));  // written, and the journal is not told of a sync
  rig.Crash(false);
  ASSERT_TRUE(rig.Start().ok());
  const std::string segment = *rig.disk().Content(kSegment);
  const raft::core::Log& log = rig.Recovered(2)->initial.log;
  ASSERT_EQ(log.last_index(), LogIndex(8));
  ASSERT_LT(log.prefix().index, LogIndex(7)) << "the journal knows how far the segment goes";
  const char* end_before = nullptr;
  for (LogIndex at = log.prefix().index + 1; at <= log.last_index(); ++at) {
    const std::string_view frame = log.At(at).frame.view();
    EXPECT_NE(segment.find(frame), std::string::npos) << "only the journal has it: " << at;
    EXPECT_NE(frame.data(), end_before) << at;
    end_before = frame.data() + frame.size();
  }
}

TEST(Opener, AFolderThatNoRecordNames_IsRemoved) {
  LogStoreRig rig(2);
  Fill(rig);
  rig.Crash(false);
  rig.disk().PutFile(kLeftover, "of a reset that did not stay");
  rig.disk().PutFile("groups/2/notes.txt", "somebody's");
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));
  EXPECT_FALSE(Exists(rig, kLeftover));
  EXPECT_TRUE(Exists(rig, kSegment));
  EXPECT_TRUE(Exists(rig, "groups/2/notes.txt")) << "it is no folder of segments";
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(Opener, FoldersOfARemovedGroup_AreRemoved_UpToItsLastReplicas) {
  LogStoreRig rig(3);
  Fill(rig);
  rig.RemoveGroup(2);
  rig.Settle();
  rig.RunFor(std::chrono::milliseconds(100));
  rig.Crash(false);
  rig.disk().PutFile(kLeftover, "a crash came before this went");
  rig.disk().PutFile("groups/2/2.0/00000000000000000001.segment", "of a later replica");
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));
  EXPECT_FALSE(Exists(rig, kLeftover));
  EXPECT_TRUE(Exists(rig, "groups/2/2.0/00000000000000000001.segment"))
      << "no tombstone speaks of it";
}

TEST(Opener, ALeftoverThatCannotBeRemoved_KeepsNobodyFromOpening) {
  LogStoreRig rig(4);
  Fill(rig);
  rig.Crash(false);
  rig.disk().PutFile(kLeftover, "of a reset that did not stay");
  rig.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2", kNoDescriptors);
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));
  EXPECT_TRUE(Exists(rig, kLeftover));
  EXPECT_EQ(rig.CompareWithModel(), "");
  rig.Crash(false);
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));
  EXPECT_FALSE(Exists(rig, kLeftover)) << "the next start does it";
}

// Which of its folders is the group's is not known for certain, or somebody may want to look.
TEST(Opener, FoldersOfASilentReplica_Stay_WhateverSilencesIt) {
  const std::function<void(LogStoreRig&)> kCauses[] = {
      [](LogStoreRig& rig) { ChangeToAnotherBuilds(rig, kSegment); },
      [](LogStoreRig& rig) {
        rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", kNoDescriptors);
      },
      // In doubt: what is lost are later promises of group 2, and group 3 states its own again.
      [](LogStoreRig& rig) {
        ASSERT_TRUE(rig.Start().ok());
        DamageInJournal(rig, [&] { rig.SetTerm(2, 5); });
        rig.SetTerm(3, 5);
        rig.Settle();
        rig.Crash(false);
      },
  };
  for (const auto& silence : kCauses) {
    LogStoreRig rig(5);
    Fill(rig);
    rig.Crash(false);
    silence(rig);
    rig.disk().PutFile(kLeftover, "of a reset, perhaps one that stayed");
    const std::string segment = *rig.disk().Content(kSegment);
    ASSERT_TRUE(rig.Start().ok());
    ASSERT_FALSE(rig.Recovered(2)->health.ok());
    EXPECT_TRUE(rig.Recovered(3)->health.ok()) << rig.Recovered(3)->health;
    const Status why = rig.Recovered(2)->health;
    rig.RunFor(std::chrono::milliseconds(100));
    EXPECT_TRUE(Exists(rig, kLeftover)) << why;
    EXPECT_EQ(rig.disk().Content(kSegment), segment) << why;
  }
}

// Nothing was promised without the log: who makes the file whole again has a replica again.
TEST(Opener, WhatIsDamagedWaitsForItsRepair_OrForWhoMakesTheFileWhole) {
  LogStoreRig rig(6);
  Fill(rig);
  rig.Crash(true);
  rig.disk().FlipBit(kSegment, 200, 3);
  ASSERT_TRUE(rig.Start().ok());
  const Status damage = rig.Recovered(2)->health;
  EXPECT_EQ(damage.code(), Code::kUnavailable);
  EXPECT_NE(damage.message().find(kSegment), std::string::npos) << damage;
  EXPECT_TRUE(rig.store().HasDamage(RaftGroupId(2)));
  rig.Crash(true);
  rig.disk().FlipBit(kSegment, 200, 3);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// The journal keeps nothing for it any more.
TEST(Opener, DamageThatNobodyCanRepair_IsMarkedDurably_ThoughTheFileIsWholeAgain) {
  for (const bool power : {false, true}) {
    LogStoreRig rig(6);
    Fill(rig);
    rig.Crash(true);
    rig.disk().FlipBit(kSegment, 200, 3);
    ASSERT_TRUE(rig.Start().ok());
    rig.store().GiveUpRepair({RaftGroupId(2), LogStoreRig::kNumber});
    EXPECT_EQ(rig.faults().at(2).code(), Code::kDataLoss);
    rig.RunFor(std::chrono::milliseconds(100));
    rig.Crash(power);
    rig.disk().FlipBit(kSegment, 200, 3);
    ASSERT_TRUE(rig.Start().ok());
    const Status after = rig.Recovered(2)->health;
    EXPECT_EQ(after.code(), Code::kDataLoss);
    EXPECT_NE(after.message().find(kSegment), std::string::npos) << after;
    EXPECT_TRUE(rig.Recovered(3)->health.ok());
  }
}

TEST(Opener, AnErrorThatMayPass_LeavesNoMark_ThoughTheBrokerEndsBeforeItPassed) {
  LogStoreRig rig(7);
  Fill(rig);
  rig.Crash(true);
  rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", kNoDescriptors);
  ASSERT_TRUE(rig.Start().ok());
  ASSERT_EQ(rig.Recovered(2)->health.code(), kNoDescriptors.code());
  rig.RunFor(std::chrono::milliseconds(100));
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_TRUE(rig.Recovered(2)->health.ok()) << rig.Recovered(2)->health;
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(Opener, GroupsThatCannotBeReadForAWhile_JoinLater_EachByItself) {
  LogStoreRig rig(8);
  Fill(rig);
  rig.Crash(true);
  for (int i = 0; i < 3; ++i) {
    rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", kNoDescriptors);
  }
  rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/3", kNoDescriptors);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.store().stalled_groups(), 2u);
  rig.RunFor(std::chrono::milliseconds(700));
  EXPECT_FALSE(rig.Recovered(2)->health.ok());
  EXPECT_TRUE(rig.Recovered(3)->health.ok()) << rig.Recovered(3)->health;
  rig.RunFor(std::chrono::seconds(10));
  EXPECT_TRUE(rig.Recovered(2)->health.ok()) << rig.Recovered(2)->health;
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// Made again it would vote anew. And while damage may have taken others without a trace, nothing
// is made.
TEST(Opener, AGroupWhoseCreationIsLost_IsNotThere_AndIsNotMadeAgain) {
  LogStoreRig rig(9);
  Fill(rig);
  DamageInJournal(rig, [&] { rig.CreateGroup(4); });
  for (const uint64_t group : {2, 3, 4}) rig.SetTerm(group, 5);
  rig.Settle();
  rig.disk().PutFile("groups/4/1.0/00000000000000000001.segment", "what it had");
  for (int start = 0; start < 2; ++start) {
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_EQ(rig.Recovered(4), nullptr) << start;
    EXPECT_FALSE(rig.store().MayCreate({RaftGroupId(4), LogStoreRig::kNumber})) << start;
    EXPECT_FALSE(rig.store().MayCreate({RaftGroupId(4), ReplicaNumber(2)})) << start;
    EXPECT_FALSE(rig.store().MayCreate({RaftGroupId(5), LogStoreRig::kNumber})) << start;
    EXPECT_TRUE(rig.Recovered(2)->health.ok()) << rig.Recovered(2)->health;
    EXPECT_TRUE(rig.Recovered(3)->health.ok()) << rig.Recovered(3)->health;
    rig.RunFor(std::chrono::milliseconds(100));
    EXPECT_TRUE(Exists(rig, "groups/4/1.0/00000000000000000001.segment")) << start;
  }
}

}  // namespace
}  // namespace millrace::storage

// What the host can rely on: durable writes, background segments, rolls with state, removal, and
// faults that stay with one replica.
#include "storage/logstore/log_store.h"

#include <algorithm>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "tests/storage/logstore/one_group.h"

namespace millrace::storage {
namespace {

// Two groups with committed entries in segments.
void Fill(LogStoreRig& rig) {
  ASSERT_TRUE(rig.Start().ok());
  for (const uint64_t group : {2, 3}) {
    rig.CreateGroup(group);
    rig.Append(group, 8, 400);
    rig.Settle();
    while (rig.committed(group) < 8) rig.Commit(group);
  }
  rig.RunFor(std::chrono::milliseconds(200));
}

TEST(LogStore, HandedOverEntries_BecomeReadable_AndTheListenerIsTold) {
  LogStoreRig rig(1);
  Fill(rig);
  EXPECT_EQ(rig.store().readable_end(RaftGroupId(2)), LogIndex(8));
  EXPECT_EQ(rig.readable().at(2), 8U);
  EXPECT_EQ(rig.CompareSegments(2), "");
  EXPECT_EQ(rig.Read(2, 9, 100).status().code(), Code::kOutOfRange);
}

TEST(LogStore, TellsWhenARecordWasAppended_WithoutTheDisk) {
  LogStoreRig rig(1);
  Fill(rig);
  const auto& entries = rig.entries(2);
  const auto appended_ms = [&](const auto& entry) { return entry.frame.header().append_time_ms; };
  const auto find = [&](Offset offset) {
    auto found = std::make_shared<std::optional<Result<raft::AppendTime>>>();
    rig.store().FindAppendTime(RaftGroupId(2), offset, [found](Result<raft::AppendTime> time) {
      *found = std::move(time);
    });
    EXPECT_FALSE(found->has_value()) << "it is told on the shard's thread, later";
    rig.RunFor(std::chrono::milliseconds(10));
    return found->value();
  };
  rig.RunFor(std::chrono::seconds(1));
  const uint64_t operations = rig.disk().operations();
  const Result<raft::AppendTime> time = find(Offset(0));
  ASSERT_TRUE(time.ok()) << time.status();
  EXPECT_LE(time->min_ms, appended_ms(entries.front()));
  EXPECT_GE(time->max_ms, appended_ms(entries.front()));
  EXPECT_GE(time->min_ms, appended_ms(entries.front())) << "no entry is older";
  EXPECT_EQ(find(rig.end_offset(2)).status().code(), Code::kOutOfRange);
  EXPECT_EQ(rig.disk().operations(), operations);
}

TEST(LogStore, IdleGroup_IsSyncedOnce_AndThenNothingTouchesTheDisk) {
  LogStoreRig rig(2);
  Fill(rig);
  rig.RunFor(std::chrono::seconds(1));
  const uint64_t operations = rig.disk().operations();
  rig.RunFor(std::chrono::seconds(60));
  EXPECT_EQ(rig.disk().operations(), operations);
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(2)->initial.log.prefix().index, LogIndex(8));
  EXPECT_EQ(rig.CompareWithModel(), "");
}

class RollByTime : public testing::Test {
 protected:
  void SetUp() override {
    Fill(rig_);
    rig_.store().SetRollLimits(kGroup, {.bytes = 0, .age = std::chrono::seconds(100)});
  }
  bool WantsRoll() { return rig_.store().WantsRoll(kGroup, rig_.Now()); }
  void CommitAll(uint64_t count) {
    rig_.Append(2, count, 100);
    rig_.Settle();
    while (rig_.committed(2) < rig_.last_index(2)) rig_.Commit(2);
    rig_.RunFor(std::chrono::milliseconds(100));
  }
  LogStoreRig rig_{31};
};

TEST_F(RollByTime, ASegmentIsEnded_OnceItsFirstEntryIsOld_ThoughNothingComes) {
  EXPECT_FALSE(WantsRoll());
  rig_.RunFor(std::chrono::seconds(99));
  EXPECT_FALSE(WantsRoll());
  rig_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(WantsRoll());
  rig_.store().Roll(kGroup, LogIndex(8), std::nullopt);
  rig_.RunFor(std::chrono::seconds(200));
  EXPECT_FALSE(WantsRoll()) << "the next one is empty";
  CommitAll(1);
  EXPECT_EQ(Files(rig_).size(), 2U);
  EXPECT_FALSE(WantsRoll());
}

TEST_F(RollByTime, WhatComesDoesNotMakeItYounger) {
  for (int i = 0; i < 9; ++i) {
    EXPECT_FALSE(WantsRoll());
    rig_.RunFor(std::chrono::seconds(11));
    CommitAll(1);
  }
  rig_.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(WantsRoll());
}

// A leader whose clock is a year ahead, and the next one, whose is not.
TEST_F(RollByTime, AWrongClock_EndsOneSegment_NotEach) {
  EXPECT_FALSE(WantsRoll());
  rig_.SetWallOffset(std::chrono::hours(24 * 365));
  for (int i = 0; i < 10; ++i) CommitAll(1);
  EXPECT_FALSE(WantsRoll());
  EXPECT_EQ(Files(rig_).size(), 2U);
  // The clock is right again; the log's times stand still until it gets there.
  rig_.SetWallOffset(std::chrono::hours(0));
  for (size_t ages = 1; ages <= 3; ++ages) {
    rig_.RunFor(std::chrono::seconds(101));
    for (int i = 0; i < 10; ++i) CommitAll(1);
    EXPECT_EQ(Files(rig_).size(), 2 + ages) << "one in each time";
  }
}

TEST_F(RollByTime, ARestart_CountsOnFromTheLogsTimes) {
  rig_.RunFor(std::chrono::seconds(60));
  CommitAll(1);
  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  rig_.store().SetRollLimits(kGroup, {.bytes = 0, .age = std::chrono::seconds(100)});
  rig_.RunFor(std::chrono::seconds(1));
  EXPECT_FALSE(WantsRoll());
  rig_.RunFor(std::chrono::seconds(45));
  EXPECT_TRUE(WantsRoll());
}

TEST_F(RollByTime, AGroupsOwnSize_GoesBeforeTheStores) {
  rig_.store().SetRollLimits(kGroup, {.bytes = 1 << 20});
  for (int i = 0; i < 20; ++i) CommitAll(8);
  EXPECT_EQ(Files(rig_).size(), 1U);
  rig_.store().SetRollLimits(kGroup, {.bytes = 1000});
  CommitAll(8);
  CommitAll(8);
  EXPECT_GT(Files(rig_).size(), 1U);
}

TEST(LogStore, Roll_KeepsTheStateOfExactlyItsIndex) {
  LogStoreRig rig(3);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(2);
  for (int i = 0; i < 40; ++i) {
    rig.Append(2, 4, 1500);
    rig.Settle();
    rig.Commit(2);
  }
  rig.RunFor(std::chrono::milliseconds(200));
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  ASSERT_TRUE(rig.Recovered(2)->snapshot.has_value());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

void CommitMany(LogStoreRig& rig, uint64_t group, int times) {
  for (int i = 0; i < times; ++i) {
    rig.Append(group, 4, 1500);
    rig.Settle();
    rig.Commit(group);
    rig.RunFor(std::chrono::milliseconds(5));
  }
}

// A state that is larger than a segment, written once for each segment's worth of log, would cost
// more than the log itself.
TEST(LogStore, ARoll_WaitsUntilTheLogGrewByFourTimesTheLastState) {
  LogStoreRig rig(11);
  rig.state_padding = std::string(60 << 10, 's');
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(2);
  CommitMany(rig, 2, 50);
  rig.Crash(false);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
  CommitMany(rig, 2, 50);
  const uint64_t log_bytes = rig.last_index(2) * 1600;
  EXPECT_GT(Files(rig).size(), 2U);
  EXPECT_LE(Files(rig).size(), 2 + log_bytes / (4 * rig.state_padding.size()));
}

TEST(LogStore, TheControllersSegments_AreOfTheirOwnSize) {
  LogStoreRig rig(12);
  rig.options.segment_size_bytes = 100 << 20;
  ASSERT_TRUE(rig.Start().ok());
  for (const uint64_t group : {1, 2}) {
    rig.CreateGroup(group);
    CommitMany(rig, group, 10);
  }
  EXPECT_GT(FilesOf(rig, 1).size(), 1U);
  EXPECT_EQ(Files(rig).size(), 1U);
}

TEST(LogStore, MoreThanTheJournalHolds_IsWritten_SinceSegmentsAreSyncedForIt) {
  LogStoreRig rig(4);
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(2);
  rig.CreateGroup(3);
  for (int i = 0; i < 600; ++i) {
    for (const uint64_t group : {2, 3}) {
      rig.Append(group, 4, 1500);
      rig.Settle();
      rig.Commit(group);
    }
    rig.RunFor(std::chrono::milliseconds(5));
    ASSERT_LE(rig.store().journal_pressure(), 1.5) << i;
  }
  EXPECT_TRUE(rig.faults().empty());
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(LogStore, RemovedReplica_IsGoneWithItsFiles_AndItsIdIsRemembered) {
  LogStoreRig rig(5);
  Fill(rig);
  rig.RemoveGroup(2);
  rig.Settle();
  rig.RunFor(std::chrono::milliseconds(100));
  for (const std::string& path : rig.disk().Paths()) EXPECT_FALSE(path.starts_with("groups/2"));
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_FALSE(rig.store().MayCreate({RaftGroupId(2), LogStoreRig::kNumber}));
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// As a host does that applies, in one turn, the deletion of a topic whose replica had something to
// write in it.
TEST(LogStore, WriteOfAReplicaThatWasRemovedMeanwhile_CountsAsDone) {
  LogStoreRig rig(5);
  Fill(rig);
  rig.RemoveGroup(2);
  for (const bool is_alone : {true, false}) {
    std::vector<raft::ReplicaWrite> writes;
    writes.push_back({.replica = {RaftGroupId(2), LogStoreRig::kNumber}, .write = {}});
    if (!is_alone) writes.push_back({.replica = {RaftGroupId(3), LogStoreRig::kNumber}});
    const size_t count = writes.size();
    EXPECT_EQ(rig.CountTold(std::move(writes)), count);
  }
  rig.Settle();
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(LogStore, WriteOfAFormerLife_IsNotTheNextOnes) {
  LogStoreRig rig(5);
  Fill(rig);
  rig.RemoveGroup(2);
  rig.CreateGroup(2);
  rig.Settle();
  std::vector<raft::ReplicaWrite> writes;
  writes.push_back({.replica = {RaftGroupId(2), LogStoreRig::kNumber}, .write = {}});
  writes.back().write.hard_state = raft::core::HardState{.term = Term(77)};
  EXPECT_EQ(rig.CountTold(std::move(writes)), 1U);
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(LogStore, RemovalThatACrashInterrupted_IsFinishedAtStart) {
  for (uint64_t operation = 1; operation <= 12; ++operation) {
    LogStoreRig rig(6);
    Fill(rig);
    rig.RemoveGroup(2);
    rig.disk().CrashAtOperation(operation, [&] { rig.Crash(false); });
    rig.RunFor(std::chrono::milliseconds(100));
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_EQ(rig.CompareWithModel(), "") << operation;
    if (rig.store().MayCreate({RaftGroupId(2), LogStoreRig::kNumber})) continue;
    rig.RunFor(std::chrono::milliseconds(100));
    for (const std::string& path : rig.disk().Paths()) {
      EXPECT_FALSE(path.starts_with("groups/2")) << operation << " " << path;
    }
  }
}

// What passes, at the calls that segments make: the first of the group's life, and later ones.
const Status kErrors[] = {
    ResourceExhausted("No space left on device", Reason::kDiskFull),
    ResourceExhausted("Too many open files"),
    Unavailable("Input/output error"),
    Status(Code::kPermissionDenied, "Read-only file system"),
};

// "" or what is wrong with the groups, which took everything before.
std::string ComparedAfterARestart(LogStoreRig& rig, bool power) {
  rig.Crash(power);
  if (const Status started = rig.Start(); !started.ok()) return started.ToString();
  return rig.CompareWithModel();
}

TEST(LogStore, SegmentErrorThatPasses_IsWrittenAgain_AndNothingIsLost) {
  for (const Status& error : kErrors) {
    for (const auto kind : {sim::SimDisk::Kind::kChange, sim::SimDisk::Kind::kSync}) {
      LogStoreRig rig(7);
      Fill(rig);
      rig.Append(2, 6, 900);
      rig.Settle();
      rig.disk().FailNext(kind, "groups/2", error);
      while (rig.committed(2) < 14) rig.Commit(2);
      rig.RunFor(std::chrono::milliseconds(100));
      EXPECT_TRUE(rig.stalled().contains(2)) << error;
      EXPECT_EQ(rig.store().stalled_groups(), 1U);
      EXPECT_EQ(rig.CompareSegments(3), "");
      rig.RunFor(std::chrono::seconds(1));
      EXPECT_TRUE(rig.stalled().empty()) << error;
      EXPECT_TRUE(rig.faults().empty());
      EXPECT_EQ(rig.store().stalls(), 1U);
      EXPECT_EQ(rig.failure(), "");
      EXPECT_EQ(rig.store().readable_end(RaftGroupId(2)), LogIndex(14));
      EXPECT_EQ(rig.CompareSegments(2), "");
      EXPECT_EQ(ComparedAfterARestart(rig, /*power=*/true), "") << error;
    }
  }
}

// Reading back takes longer here than a new leader needs to cut what was not committed, and to
// commit other entries in its place: at each moment of it, in turn.
TEST(LogStore, EntryThatIsCutWhileItIsReadBack_IsNotWrittenToSegments) {
  for (int moment = 0; moment < 600; moment += 6) {
    LogStoreRig rig(12);
    Fill(rig);
    rig.Append(2, 60, 300);
    rig.Settle();
    rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2", kErrors[0]);
    rig.Commit(2);
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_TRUE(rig.stalled().contains(2));
    ASSERT_LT(rig.committed(2), rig.last_index(2)) << "there is something to cut";
    rig.RunFor(std::chrono::milliseconds(390));  // the next try comes 500 ms after the error
    ASSERT_TRUE(rig.stalled().contains(2));
    for (int event = 0; event < moment; ++event) rig.world().Step();
    rig.Rewrite(2, 80);
    rig.Settle();
    while (rig.committed(2) < rig.last_index(2)) rig.Commit(2);
    rig.RunFor(std::chrono::seconds(2));
    EXPECT_TRUE(rig.stalled().empty()) << moment;
    EXPECT_TRUE(rig.faults().empty()) << moment;
    EXPECT_EQ(rig.CompareSegments(2), "") << moment;
    EXPECT_EQ(ComparedAfterARestart(rig, /*power=*/true), "") << moment;
  }
}

TEST(LogStore, StalledGroup_SurvivesARestart_SinceTheJournalKeepsItsEntries) {
  for (const bool power : {false, true}) {
    LogStoreRig rig(8);
    Fill(rig);
    rig.Append(2, 6, 900);
    rig.Settle();
    rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2", kErrors[0]);
    while (rig.committed(2) < 14) rig.Commit(2);
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_TRUE(rig.stalled().contains(2));
    EXPECT_EQ(ComparedAfterARestart(rig, power), "");
    EXPECT_TRUE(rig.Recovered(2)->health.ok());
  }
}

TEST(LogStore, FolderThatStaysBad_KeepsNoOtherGroupStalled) {
  LogStoreRig rig(9);
  Fill(rig);
  for (const uint64_t group : {2, 3}) {
    rig.Append(group, 2, 900);
    rig.Settle();
    rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/" + std::to_string(group), kErrors[0]);
    rig.Commit(group);
  }
  for (int i = 0; i < 100; ++i) {
    rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", kErrors[2]);
  }
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(rig.stalled(), std::set<uint64_t>{2});
  const Status read = rig.Read(2, 1, 100).status();
  EXPECT_EQ(read.code(), Code::kUnavailable) << read;
  rig.disk().ForgetFaults();
  rig.RunFor(std::chrono::seconds(10));
  EXPECT_TRUE(rig.stalled().empty());
  EXPECT_EQ(ComparedAfterARestart(rig, /*power=*/true), "");
}

TEST(LogStore, GroupRemovedWhileItIsStalled_LeavesNoFiles) {
  for (const int after_ms : {100, 500, 501, 502}) {
    LogStoreRig rig(11);
    Fill(rig);
    rig.Append(2, 2, 900);
    rig.Settle();
    rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2", kErrors[0]);
    rig.Commit(2);
    rig.RunFor(std::chrono::milliseconds(after_ms));
    rig.RemoveGroup(2);
    rig.RunFor(std::chrono::seconds(2));
    for (const std::string& path : rig.disk().Paths()) EXPECT_FALSE(path.starts_with("groups/2"));
    EXPECT_EQ(rig.store().stalled_groups(), 0U);
  }
}

// At each of the reads that a start makes of the group.
TEST(LogStore, GroupThatCannotBeReadAtStart_IsSilent_AndRecoveredOnceItCanBeRead) {
  for (const Status& error : kErrors) {
    LogStoreRig rig(14);
    Fill(rig);
    rig.Append(2, 2, 900);
    rig.Settle();
    rig.Crash(true);
    for (int i = 0; i < 3; ++i) rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", error);
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_EQ(rig.Recovered(2)->health.code(), error.code()) << error;
    EXPECT_TRUE(rig.Recovered(3)->health.ok());
    EXPECT_EQ(rig.store().stalled_groups(), 1U);
    rig.RunFor(std::chrono::seconds(10));
    EXPECT_TRUE(rig.Recovered(2)->health.ok()) << rig.Recovered(2)->health;
    EXPECT_EQ(rig.store().stalled_groups(), 0U);
    EXPECT_EQ(rig.CompareWithModel(), "");
    rig.Append(2, 2, 900);
    rig.Settle();
    rig.Commit(2);
    rig.RunFor(std::chrono::seconds(1));
    EXPECT_EQ(ComparedAfterARestart(rig, /*power=*/true), "");
  }
}

TEST(LogStore, DataDirectoryThatIsGone_EndsTheProcess) {
  LogStoreRig rig(15);
  Fill(rig);
  rig.disk().FailNext(sim::SimDisk::Kind::kRead, sim::SimDisk::kRoom,
                      FailedPrecondition("the data directory was removed"));
  rig.RunFor(std::chrono::seconds(1));
  EXPECT_NE(rig.failure().find("was removed"), std::string::npos) << rig.failure();
}

TEST(LogStore, RoomThatNobodyCanTell_RefusesProduceInTheEnd) {
  LogStoreRig rig(16);
  Fill(rig);
  rig.disk().FailEvery(1, sim::SimDisk::kRoom, kErrors[2]);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig.store().admission().ok());
  rig.RunFor(std::chrono::seconds(6));
  EXPECT_EQ(rig.store().admission().reason(), Reason::kDiskFull);
  rig.disk().ForgetFaults();
  rig.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(rig.store().admission().ok());
}

TEST(LogStore, WriteThatFindsNoRoom_RefusesProduceAtOnce) {
  LogStoreRig rig(12);
  Fill(rig);
  rig.Append(2, 2, 900);
  rig.Settle();
  rig.disk().FailNext(sim::SimDisk::Kind::kChange, "groups/2", kErrors[0]);
  EXPECT_TRUE(rig.store().admission().ok());
  rig.Commit(2);
  rig.RunFor(std::chrono::milliseconds(10));
  EXPECT_EQ(rig.store().admission().reason(), Reason::kDiskFull);
  rig.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(rig.store().admission().ok());
}

TEST(LogStore, RotBelowTheSyncedEnd_FoundWhileWritingAgain_IsDamage) {
  LogStoreRig rig(13);
  Fill(rig);
  rig.Append(2, 2, 900);
  rig.Settle();
  rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2", kErrors[2]);
  rig.Commit(2);
  rig.RunFor(std::chrono::milliseconds(100));
  rig.disk().FlipBit("groups/2/1.0/00000000000000000001.segment", 200, 3);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig.faults().contains(2));
  EXPECT_EQ(rig.faults().size(), 1U);
  EXPECT_EQ(rig.store().stalled_groups(), 0U);
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_FALSE(rig.Recovered(2)->health.ok());
  EXPECT_TRUE(rig.Recovered(3)->health.ok());
}

TEST(LogStore, ADamagedSegmentThatNobodyCanRepair_SilencesItsReplica_AndPinsNoJournalFile) {
  LogStoreRig rig(8);
  Fill(rig);
  rig.Append(2, 2, 100);
  rig.Settle();
  rig.Crash(true);
  rig.disk().FlipBit("groups/2/1.0/00000000000000000001.segment", 200, 3);
  const std::string damaged = *rig.disk().Content("groups/2/1.0/00000000000000000001.segment");
  ASSERT_TRUE(rig.Start().ok());
  rig.store().GiveUpRepair({RaftGroupId(2), LogStoreRig::kNumber});
  const Status health = rig.faults().at(2);
  EXPECT_EQ(health.code(), Code::kDataLoss);
  EXPECT_NE(health.message().find("groups/2/1.0/00000000000000000001.segment"), std::string::npos);
  for (int i = 0; i < 300; ++i) {
    rig.Append(3, 4, 1500);
    rig.Settle();
    rig.Commit(3);
    rig.RunFor(std::chrono::milliseconds(5));
    ASSERT_LE(rig.store().journal_pressure(), 1.5) << i;
  }
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(2)->health.code(), Code::kDataLoss);
  EXPECT_EQ(*rig.disk().Content("groups/2/1.0/00000000000000000001.segment"), damaged);
}

// The build that knows them may come back: nothing of it is called damaged, moved or tried again.
TEST(LogStore, SegmentsOfAnotherBuild_SilenceTheirReplica_AndWaitForThatBuild) {
  LogStoreRig rig(17);
  Fill(rig);
  rig.RunFor(std::chrono::seconds(2));
  rig.Append(2, 2, 100);
  rig.Settle();
  rig.Crash(true);
  const std::string path = "groups/2/1.0/00000000000000000001.segment";
  const std::string ours = *rig.disk().Content(path);
  std::string theirs = ours;
  SegmentRig::ChangeHeader(8, &theirs);
  rig.disk().PutFile(path, theirs);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(2)->health.code(), Code::kUnimplemented);
  EXPECT_TRUE(rig.Recovered(3)->health.ok());
  EXPECT_EQ(rig.store().stalled_groups(), 0U);
  rig.RunFor(std::chrono::seconds(1));
  const uint64_t operations = rig.disk().operations();
  rig.RunFor(std::chrono::seconds(60));
  EXPECT_EQ(rig.disk().operations(), operations);
  EXPECT_TRUE(rig.faults().empty());
  rig.Crash(true);
  EXPECT_EQ(rig.disk().Content(path), theirs);
  rig.disk().PutFile(path, ours);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// What could not even be read at first may turn out to be another build's.
TEST(LogStore, SegmentsOfAnotherBuild_FoundByALaterTry_AreNotTriedAgain) {
  LogStoreRig rig(18);
  Fill(rig);
  rig.Crash(true);
  const std::string path = "groups/2/1.0/00000000000000000001.segment";
  std::string theirs = *rig.disk().Content(path);
  SegmentRig::ChangeHeader(56, &theirs);
  rig.disk().PutFile(path, theirs);
  rig.disk().FailNext(sim::SimDisk::Kind::kRead, "groups/2", kErrors[2]);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.store().stalled_groups(), 1U);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(rig.store().stalled_groups(), 0U);
  EXPECT_TRUE(rig.faults().empty());
  EXPECT_EQ(rig.disk().Content(path), theirs);
}

TEST(LogStore, JournalError_EndsTheProcess) {
  LogStoreRig rig(9);
  Fill(rig);
  rig.disk().FailNextSync("journal/");
  rig.Append(2, 1, 100);
  rig.RunFor(std::chrono::seconds(1));
  EXPECT_NE(rig.failure(), "");
}

TEST(LogStore, NearlyFullDisk_IsSeen_AndSeenToEnd) {
  LogStoreRig rig(10);
  rig.options.free_bytes_min = 1 << 20;
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig.store().admission().ok());
  rig.disk().SetCapacity(512 << 10);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(rig.store().admission().reason(), Reason::kDiskFull);
  rig.disk().SetCapacity(1 << 30);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_TRUE(rig.store().admission().ok());
}

// How large a state is decides when the next roll is due, and is known once it is encoded.
TEST(LogStore, WhileAStateIsEncoded_NoFurtherRollIsDue) {
  LogStoreRig rig(14);
  rig.state_padding = std::string(1 << 20, 's');
  ASSERT_TRUE(rig.Start().ok());
  rig.CreateGroup(2);
  rig.Append(2, 200, 1500);
  rig.Settle();
  // Many segments' worth is handed over before the segments' thread comes to the first state.
  while (rig.committed(2) < 200) rig.Commit(2);
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(Files(rig).size(), 2U) << "one with a state, and the one that follows";
}

// Checkpoints.

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    rig_.options.segment_size_bytes = 1 << 20;
    EXPECT_TRUE(rig_.Start().ok());
    rig_.CreateGroup(2);
    rig_.Settle();
  }
  void CommitAll(uint64_t batches) {
    for (uint64_t i = 0; i < batches; ++i) {
      rig_.Append(2, 1, 1000);
      rig_.Settle();
      while (rig_.committed(2) < rig_.last_index(2)) rig_.Commit(2);
      // Something else is never done before what is written is synced.
      rig_.RunFor(std::chrono::milliseconds(5));
    }
  }
  LogIndex IndexOfState() {
    const raft::RecoveredReplica* replica = rig_.Recovered(2);
    return replica->snapshot.has_value() ? replica->snapshot->index : LogIndex();
  }
  void Restart() {
    rig_.Crash(false);
    ASSERT_TRUE(rig_.Start().ok());
    ASSERT_EQ(rig_.CompareWithModel(), "");
  }
  LogStoreRig rig_{51};
};

TEST_F(CheckpointTest, IsWanted_OnceAStartWouldReadAShare) {
  CommitAll(1);
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  CommitAll(8);
  EXPECT_TRUE(rig_.store().WantsCheckpoint(kGroup));
  rig_.makes_checkpoints = true;
  CommitAll(1);
  rig_.RunFor(std::chrono::milliseconds(10));
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup)) << "there is one";
  const LogIndex at(rig_.last_index(2));
  rig_.makes_checkpoints = false;
  CommitAll(1);
  rig_.RunFor(std::chrono::milliseconds(100));  // the idle sync
  Restart();
  EXPECT_EQ(IndexOfState(), at);
}

TEST_F(CheckpointTest, IsWantedOfLess_WhereNothingIsWrittenAnyMore) {
  rig_.Crash(false);
  rig_.options.checkpoint_bytes_min = rig_.options.checkpoint_bytes_max = 1 << 20;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  CommitAll(4);
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_TRUE(rig_.store().WantsCheckpoint(kGroup));
}

// States take at most a part of what the log does.
TEST_F(CheckpointTest, OfALargeState_WaitsForFourTimesItsSize) {
  rig_.state_padding = std::string(20 << 10, 's');
  rig_.makes_checkpoints = true;
  CommitAll(10);
  rig_.makes_checkpoints = false;
  CommitAll(20);
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  CommitAll(200);
  EXPECT_TRUE(rig_.store().WantsCheckpoint(kGroup));
}

TEST_F(CheckpointTest, IsNotWanted_WhileItIsMade_OrTheSegmentsStall) {
  CommitAll(9);
  ASSERT_TRUE(rig_.store().WantsCheckpoint(kGroup));
  rig_.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2", Internal("input/output error"));
  rig_.store().Checkpoint(kGroup, LogIndex(rig_.last_index(2)), [] { return Bytes(); });
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  rig_.RunFor(std::chrono::milliseconds(100));
  ASSERT_EQ(rig_.store().stalled_groups(), 1U) << "its sync is a sync like others";
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  rig_.RunFor(std::chrono::seconds(2));
  ASSERT_EQ(rig_.store().stalled_groups(), 0U);
  EXPECT_TRUE(rig_.store().WantsCheckpoint(kGroup)) << "what was made anew has none";
}

TEST_F(CheckpointTest, IsWorthLess_WhereTheHostStops) {
  rig_.Crash(false);
  rig_.options.checkpoint_bytes_min = rig_.options.checkpoint_bytes_max = 1 << 20;
  ASSERT_TRUE(rig_.Start().ok());
  ASSERT_EQ(rig_.CompareWithModel(), "");
  EXPECT_FALSE(rig_.store().WantsLastCheckpoint(kGroup));
  CommitAll(4);
  EXPECT_FALSE(rig_.store().WantsCheckpoint(kGroup));
  ASSERT_TRUE(rig_.store().WantsLastCheckpoint(kGroup));
  const LogIndex at(rig_.last_index(2));
  rig_.store().Checkpoint(kGroup, at, [] { return Bytes(); });
  EXPECT_FALSE(rig_.store().WantsLastCheckpoint(kGroup));
  rig_.Stop();
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(IndexOfState(), at) << "a stop waits for what segments were asked for";
}

// The next start need not look for what lies above the end that the journal names, nor sync it.
TEST_F(CheckpointTest, AStop_LeavesTheJournalsEndAtWhatIsCommitted) {
  rig_.CreateGroup(3);
  rig_.Settle();
  rig_.Append(3, 2, 100);
  CommitAll(2);
  while (rig_.committed(3) < 2) rig_.Commit(3);
  rig_.Stop();
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(rig_.Recovered(2)->initial.commit_index, LogIndex(rig_.last_index(2)));
  EXPECT_EQ(rig_.Recovered(3)->initial.commit_index, LogIndex(2));
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

TEST_F(CheckpointTest, AStop_DoesNotWaitForSegmentsThatFail) {
  CommitAll(2);
  rig_.disk().FailEvery(1, "groups/2", Internal("input/output error"));
  rig_.Stop();
  rig_.disk().ForgetFaults();
  Restart();
}

}  // namespace
}  // namespace millrace::storage

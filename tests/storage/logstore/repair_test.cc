// A segment that is damaged, made anew from what another replica has, whatever happens meanwhile.
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "raft/core/gap_entry.h"
#include "tests/storage/logstore/one_group.h"

namespace millrace::storage {
namespace {

using raft::DamagedRange;
using raft::core::Entry;

const std::string kCheckpoint =
    CheckpointPath({.group = kGroup, .number = LogStoreRig::kNumber, .generation = 0});

struct RepairSteps {
  // Of what other replicas give.
  static constexpr uint32_t kGivenPass = 3;
  // Three sealed segments and more, all synced.
  static void Prepare(LogStoreRig& rig) { StartFilled(rig, 4); }
  // How many reads meet damage, of one for each entry.
  static int ReadThrough(LogStoreRig& rig) {
    int met = 0;
    for (uint64_t index = rig.begin(kGroupNumber).value() + 1;
         index <= rig.store().readable_end(kGroup).value(); ++index) {
      const auto read = rig.Read(kGroupNumber, index, 1);
      EXPECT_TRUE(read.ok() || read.status().code() == Code::kDataLoss) << read.status();
      if (!read.ok()) ++met;
    }
    return met;
  }
  static Status Repair(LogStoreRig& rig, const DamagedRange& range) {
    const auto& log = rig.entries(kGroupNumber);
    return RepairWith(rig, range,
                      {log.begin() + static_cast<ptrdiff_t>(range.begin.index.value()),
                       log.begin() + static_cast<ptrdiff_t>(range.end.index.value())});
  }
  static Entry GapOver(const std::vector<Entry>& log, LogIndex first, LogIndex last) {
    const FrameHeader begin = log.at(first.value() - 1).frame.header();
    const LogPoint end = EndAfter(log.at(last.value() - 1).frame.header());
    return raft::core::GapEntry(
        {.group = kGroup,
         .term = end.term,
         .first = first,
         .last = last,
         .base_offset = begin.base_offset,
         .offset_span = static_cast<uint32_t>(end.next_offset - begin.base_offset),
         .append_time_ms = 0,
         .chain = end.chain});
  }
  static Status RepairWith(LogStoreRig& rig, const DamagedRange& range,
                           const std::vector<Entry>& given) {
    const Status begun =
        rig.Await([&](auto done) { rig.store().BeginRepair(kReplica, range, std::move(done)); });
    if (!begun.ok()) return begun;
    for (auto at = given.begin(); at != given.end();) {
      const auto end = at + std::min<ptrdiff_t>(3, given.end() - at);
      const std::vector<Entry> some(at, end);
      const Status appended = rig.Await(
          [&](auto done) { rig.store().AppendRestored(kReplica, some, std::move(done)); });
      if (!appended.ok()) return appended;
      at = end;
    }
    return rig.Await([&](auto done) {
      rig.store().FinishRepair(kReplica, {.pass = kGivenPass}, std::move(done));
    });
  }
};

class RepairTest : public testing::Test, protected RepairSteps {
 protected:
  void SetUp() override { Prepare(rig_); }
  // How many there were.
  int RepairAll() {
    int repaired = 0;
    while (const auto range = rig_.store().damaged_range(kGroup)) {
      const Status done = Repair(rig_, *range);
      EXPECT_TRUE(done.ok()) << done;
      if (!done.ok()) break;
      ++repaired;
    }
    return repaired;
  }
  // How many reads, of one for each entry, are told to come again.
  int ReadUnavailable() {
    int met = 0;
    for (uint64_t index = 1; index <= rig_.store().readable_end(kGroup).value(); ++index) {
      met += rig_.Read(kGroupNumber, index, 1).status().code() == Code::kUnavailable ? 1 : 0;
    }
    return met;
  }
  LogIndex StateIndex() {
    rig_.Crash(true);
    EXPECT_TRUE(rig_.Start().ok());
    const raft::RecoveredReplica* replica = rig_.Recovered(kGroupNumber);
    if (replica == nullptr || !replica->snapshot.has_value()) return {};
    return replica->snapshot->index;
  }

  LogStoreRig rig_{61};
};

TEST_F(RepairTest, ADamagedSegment_IsMadeAnew_AndWhatItWasSealedWithStays) {
  const LogIndex state_before = StateIndex();
  ASSERT_GT(state_before, LogIndex());
  const std::vector<std::string> files = Files(rig_);
  // In the middle of one, and of the newest that has a state.
  for (const std::string& path : {files[0], files[2]}) {
    rig_.disk().FlipBit(path, 5000, 2);
  }
  EXPECT_GT(ReadThrough(rig_), 1);
  EXPECT_TRUE(rig_.damage_told().contains(kGroupNumber));
  const auto range = rig_.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  EXPECT_EQ(range->begin, LogPoint{}) << "the oldest first";
  EXPECT_NE(std::string(range->why.message()).find(files[0]), std::string::npos) << range->why;
  const auto behind = rig_.store().damaged_range_from(kGroup, range->end.index);
  ASSERT_TRUE(behind.has_value());
  EXPECT_NE(std::string(behind->why.message()).find(files[2]), std::string::npos) << behind->why;
  RepairAll();
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  EXPECT_EQ(ReadThrough(rig_), 0);
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Files(rig_).size(), files.size());
  EXPECT_EQ(StateIndex(), state_before);
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// By what another replica asks for, too.
// Who counts as having done a pass lets others let go of tombstones.
TEST_F(RepairTest, APassThatWhatIsGivenHasNotHad_IsNotDoneAnyMore_NorAfterARestart) {
  for (const uint32_t pass : {2, 7}) {
    const Status done =
        rig_.Await([&](auto told) { rig_.store().FinishPass(kReplica, pass, std::move(told)); });
    ASSERT_TRUE(done.ok()) << done;
    rig_.disk().FlipBit(Files(rig_)[0], 5000, 2);
    EXPECT_GT(ReadThrough(rig_), 0);
    EXPECT_EQ(RepairAll(), 1);
    const uint32_t left = std::min(pass, kGivenPass);
    EXPECT_EQ(rig_.store().compacted(kGroup).pass, left);
    rig_.Crash(true);
    ASSERT_TRUE(rig_.Start().ok());
    EXPECT_EQ(rig_.store().compacted(kGroup).pass, left);
  }
}

TEST_F(RepairTest, EntriesBehindADamagedHeader_AreSalvaged_AndTheDamageIsTold) {
  const std::vector<std::string> files = Files(rig_);
  rig_.disk().FlipBit(files[0], sizeof(SegmentHeader) + 40, 2);
  const auto salvage = [&](uint64_t first) {
    const auto found = rig_.Salvage(kGroupNumber, first, 1);
    return found.ok() && found->front().index == LogIndex(first);
  };
  EXPECT_TRUE(salvage(2));
  EXPECT_TRUE(rig_.damage_told().contains(kGroupNumber));
  EXPECT_TRUE(rig_.store().damaged_range(kGroup).has_value());
  EXPECT_FALSE(salvage(1));
}

TEST_F(RepairTest, AFileThatIsGone_OrCut_IsMadeAnew) {
  const std::vector<std::string> files = Files(rig_);
  rig_.disk().RemoveFile(files[0]);
  rig_.disk().TruncateFile(files[1], 3000);
  EXPECT_GT(ReadThrough(rig_), 2);
  RepairAll();
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  EXPECT_EQ(Files(rig_), files);
  StateIndex();
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

TEST_F(RepairTest, TheOneThatIsWrittenOn_IsEndedFirst) {
  rig_.rolls = false;
  rig_.Append(kGroupNumber, 4, 900);
  rig_.Settle();
  rig_.Commit(kGroupNumber);
  rig_.RunFor(std::chrono::milliseconds(200));
  rig_.disk().FlipBit(Files(rig_).back(), 200, 2);
  EXPECT_GT(ReadThrough(rig_), 0);
  EXPECT_FALSE(rig_.damage_told().contains(kGroupNumber)) << "not to be repaired yet";
  EXPECT_FALSE(rig_.store().damaged_range(kGroup).has_value());
  EXPECT_TRUE(rig_.store().WantsRoll(kGroup, rig_.Now()));
  rig_.rolls = true;
  rig_.Append(kGroupNumber, 1, 100);
  rig_.Settle();
  rig_.Commit(kGroupNumber);
  rig_.RunFor(std::chrono::milliseconds(200));
  EXPECT_TRUE(rig_.damage_told().contains(kGroupNumber));
  ASSERT_TRUE(rig_.store().damaged_range(kGroup).has_value());
  RepairAll();
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  EXPECT_FALSE(rig_.store().WantsRoll(kGroup, rig_.Now()));
}

// Nobody reads; frames, a state, a footer and a header are damaged, each in a file of its own.
TEST_F(RepairTest, WhatNobodyReads_IsFoundByScrubbing) {
  FillFiles(rig_, 6);
  const std::vector<std::string> files = Files(rig_);
  const auto& sealed = rig_.store().sealed_segments(kGroup);
  ASSERT_TRUE(sealed[1].has_state);
  rig_.disk().FlipBit(files[0], 5000, 2);
  rig_.disk().FlipBit(files[1], sealed[1].bytes + sizeof(SegmentHeader) + 2, 2);
  rig_.disk().FlipBit(files[2], rig_.disk().Content(files[2])->size() - 40, 2);
  rig_.disk().FlipBit(files[3], 20, 2);
  rig_.RunFor(std::chrono::seconds(30));
  EXPECT_EQ(RepairAll(), 4);
  EXPECT_FALSE(sealed[1].has_state) << "it was lost, and an older one will do";
  const int told = rig_.damage_told().at(kGroupNumber);
  rig_.RunFor(std::chrono::seconds(30));
  EXPECT_EQ(rig_.damage_told().at(kGroupNumber), told) << "all is whole";
  StateIndex();
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// An error of a disk may pass.
TEST_F(RepairTest, WhatCannotBeRead_CountsAsDamaged_OnceItWasTriedForAMinute) {
  const std::string path = Files(rig_)[0];
  rig_.disk().SpoilSector(path, 5000);
  rig_.disk().SpoilSector(path, rig_.disk().Content(path)->size() - 40);
  EXPECT_GT(ReadUnavailable(), 0);
  rig_.RunFor(std::chrono::seconds(55));
  EXPECT_FALSE(rig_.store().HasDamage(kGroup));
  EXPECT_GT(ReadUnavailable(), 0);
  rig_.RunFor(std::chrono::seconds(20));
  ASSERT_TRUE(rig_.store().HasDamage(kGroup));
  EXPECT_TRUE(rig_.damage_told().contains(kGroupNumber));
  EXPECT_EQ(ReadUnavailable(), 0) << "it is damage now";
  EXPECT_GT(ReadThrough(rig_), 0);
  EXPECT_EQ(RepairAll(), 1);
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
  EXPECT_FALSE(rig_.store().HasDamage(kGroup));
  StateIndex();
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

TEST_F(RepairTest, AnErrorThatPassesWithinAMinute_IsNoDamage) {
  const std::vector<std::string> files = Files(rig_);
  for (int i = 0; i < 10; ++i) {
    rig_.disk().FailEvery(1, files[0], Unavailable("Input/output error"));
    EXPECT_GT(ReadUnavailable(), 0);
    rig_.RunFor(std::chrono::seconds(30));
    rig_.disk().ForgetFaults();
    rig_.RunFor(std::chrono::seconds(30));
  }
  EXPECT_FALSE(rig_.store().HasDamage(kGroup));
  EXPECT_EQ(ReadThrough(rig_), 0);
}

TEST_F(RepairTest, WhatIsDroppedMeanwhile_NeedsNoRepair) {
  const std::vector<std::string> files = Files(rig_);
  rig_.disk().FlipBit(files[0], 5000, 2);
  ReadThrough(rig_);
  const auto range = rig_.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  rig_.SetLogStart(kGroupNumber, range->end.next_offset);
  rig_.RunFor(std::chrono::milliseconds(200));
  EXPECT_FALSE(rig_.store().damaged_range(kGroup).has_value());
  EXPECT_TRUE(Repair(rig_, *range).ok()) << "that was under way";
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Files(rig_).size(), files.size() - 1);
  EXPECT_EQ(rig_.CompareSegments(kGroupNumber), "");
}

// Others dropped what is before the log start; it begins in the middle of a file here.
TEST_F(RepairTest, AFileMayBeginWithAGap_WhereAllOthersDroppedWhatStoodThere) {
  const std::vector<std::string> files = Files(rig_);
  const auto& log = rig_.entries(kGroupNumber);
  const raft::SealedSegment before = rig_.store().sealed_segments(kGroup)[0];
  const FrameHeader last_dropped = log.at(before.end.index.value() + 1).frame.header();
  const LogPoint start = EndAfter(last_dropped);
  rig_.SetLogStart(kGroupNumber, start.next_offset);
  rig_.RunFor(std::chrono::milliseconds(200));
  ASSERT_EQ(rig_.begin(kGroupNumber), before.end.index) << "the file that the start is in stays";
  rig_.disk().FlipBit(files[1], 200, 2);
  EXPECT_GT(ReadThrough(rig_), 0);
  const auto range = rig_.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  ASSERT_TRUE(
      rig_.Await([&](auto done) { rig_.store().BeginRepair(kReplica, *range, std::move(done)); })
          .ok());
  std::vector<Entry> entries{GapOver(log, before.end.index + 1, start.index)};
  entries.insert(entries.end(), log.begin() + static_cast<ptrdiff_t>(start.index.value()),
                 log.begin() + static_cast<ptrdiff_t>(range->end.index.value()));
  ASSERT_TRUE(rig_.Await([&](auto done) {
                    rig_.store().AppendRestored(kReplica, std::move(entries), std::move(done));
                  })
                  .ok());
  ASSERT_TRUE(
      rig_.Await([&](auto done) { rig_.store().FinishRepair(kReplica, {}, std::move(done)); })
          .ok());
  EXPECT_EQ(ReadThrough(rig_), 0);
  const int told = rig_.damage_told().at(kGroupNumber);
  rig_.RunFor(std::chrono::seconds(30));
  EXPECT_EQ(rig_.damage_told().at(kGroupNumber), told) << "the scrubber finds it whole";
  EXPECT_GT(StateIndex(), LogIndex());
  EXPECT_TRUE(rig_.Recovered(kGroupNumber)->health.ok());
  EXPECT_EQ(ReadThrough(rig_), 0);
}

// A restart would have nothing to begin with.
TEST_F(RepairTest, WhereTheOnlyStateWasLost_ASegmentIsEndedForAnotherOne) {
  const auto& sealed = rig_.store().sealed_segments(kGroup);
  rig_.SetLogStart(kGroupNumber, Offset(sealed.back().end.next_offset.value() - 1));
  rig_.RunFor(std::chrono::milliseconds(200));
  ASSERT_EQ(sealed.size(), 1U);
  const std::string path = Files(rig_)[0];
  const uint64_t frames_end = sealed[0].bytes + sizeof(SegmentHeader);
  rig_.disk().FlipBit(path, 5000, 2);
  rig_.disk().FlipBit(path, frames_end + 2, 2);
  ReadThrough(rig_);
  rig_.Append(kGroupNumber, 1, 100);
  rig_.Settle();
  rig_.rolls = false;
  rig_.Commit(kGroupNumber);
  ASSERT_FALSE(rig_.store().WantsRoll(kGroup, rig_.Now()));
  RepairAll();
  EXPECT_FALSE(sealed[0].has_state);
  EXPECT_TRUE(rig_.store().WantsRoll(kGroup, rig_.Now()));
  rig_.rolls = true;
  rig_.Append(kGroupNumber, 1, 100);
  rig_.Settle();
  rig_.Commit(kGroupNumber);
  rig_.RunFor(std::chrono::milliseconds(200));
  EXPECT_TRUE(sealed.back().has_state);
  EXPECT_GT(StateIndex(), LogIndex());
  EXPECT_EQ(rig_.CompareWithModel(), "");
}

// A try to write them again and a repair need the same files, one after the other: neither may wait
// for the other for ever, nor take what it finds rotten for the end of the replica.
TEST(RepairWhileStalled, WhatRotsWhileSegmentsCannotBeWritten_IsRepaired_AndThenTheyAreWritten) {
  for (const bool is_header : {false, true}) {
    LogStoreRig rig(66);
    RepairSteps::Prepare(rig);
    const std::vector<std::string> files = Files(rig);
    rig.Append(kGroupNumber, 4, 900);
    rig.Settle();
    rig.disk().FailNext(sim::SimDisk::Kind::kSync, "groups/2",
                        ResourceExhausted("no room", Reason::kDiskFull));
    rig.Commit(kGroupNumber);
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_TRUE(rig.stalled().contains(kGroupNumber));
    rig.disk().FlipBit(files[1], is_header ? 20 : 5000, 2);
    uint64_t index = 1;
    // A header is read by nobody but the next try.
    if (is_header) rig.RunFor(std::chrono::seconds(1));
    while (!is_header && rig.Read(kGroupNumber, index, 1).ok()) ++index;
    ASSERT_TRUE(rig.faults().empty()) << rig.faults().at(kGroupNumber);
    const auto range = rig.store().damaged_range(kGroup);
    ASSERT_TRUE(range.has_value()) << is_header;
    EXPECT_TRUE(rig.damage_told().contains(kGroupNumber)) << is_header;
    const Status begun =
        rig.Await([&](auto done) { rig.store().BeginRepair(kReplica, *range, std::move(done)); });
    ASSERT_TRUE(begun.ok()) << begun;
    rig.RunFor(std::chrono::seconds(2));
    ASSERT_TRUE(rig.stalled().contains(kGroupNumber)) << "the next try waits for the repair";
    if (!is_header) {
      EXPECT_EQ(rig.Read(kGroupNumber, index, 1).status().code(), Code::kDataLoss);
    }
    ASSERT_TRUE(RepairSteps::Repair(rig, *range).ok()) << is_header;
    rig.RunFor(std::chrono::seconds(2));
    EXPECT_TRUE(rig.stalled().empty()) << is_header;
    EXPECT_EQ(rig.CompareSegments(kGroupNumber), "") << is_header;
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok());
    EXPECT_EQ(rig.CompareWithModel(), "") << is_header;
  }
}

// What a start finds of a log keeps its replica from taking part until it is whole again.
TEST(RepairAtStart, WhateverIsDamaged_IsMadeAnew_AndTheReplicaTakesPart) {
  using Inflict = std::function<void(sim::SimDisk&, const std::vector<std::string>&)>;
  const std::pair<const char*, Inflict> kDamages[] = {
      {"first gone", [](auto& disk, auto& files) { disk.RemoveFile(files[0]); }},
      {"two gone",
       [](auto& disk, auto& files) {
         disk.RemoveFile(files[1]);
         disk.RemoveFile(files[2]);
       }},
      {"all gone",
       [](auto& disk, auto& files) {
         for (const std::string& path : files) disk.RemoveFile(path);
       }},
      {"last gone", [](auto& disk, auto& files) { disk.RemoveFile(files[3]); }},
      {"header", [](auto& disk, auto& files) { disk.FlipBit(files[1], 20, 1); }},
      {"headers of two in a row",
       [](auto& disk, auto& files) {
         disk.FlipBit(files[1], 20, 1);
         disk.FlipBit(files[2], 20, 1);
       }},
      {"footer",
       [](auto& disk, auto& files) {
         disk.FlipBit(files[1], disk.Content(files[1])->size() - 40, 1);
       }},
      {"cut", [](auto& disk, auto& files) { disk.TruncateFile(files[0], 6000); }},
      {"emptied", [](auto& disk, auto& files) { disk.TruncateFile(files[1], 0); }},
      {"last emptied", [](auto& disk, auto& files) { disk.TruncateFile(files[3], 0); }},
      {"header of the last", [](auto& disk, auto& files) { disk.FlipBit(files[3], 20, 1); }},
      {"frame of the last", [](auto& disk, auto& files) { disk.FlipBit(files[3], 200, 1); }},
      {"one here, one there",
       [](auto& disk, auto& files) {
         disk.RemoveFile(files[0]);
         disk.FlipBit(files[2], 20, 1);
         disk.FlipBit(files[3], 200, 1);
       }},
  };
  for (const bool is_large : {false, true}) {
    for (const auto& [name, inflict] : kDamages) {
      const std::string about = std::string(name) + (is_large ? ", large writes" : "");
      LogStoreRig rig(64);
      if (is_large) rig.options.large_write_bytes = 512;
      RepairSteps::Prepare(rig);
      const std::vector<std::string> sealed = Files(rig);
      // Above the committed end, too.
      rig.rolls = false;
      rig.Append(kGroupNumber, 3, 900);
      rig.Settle();
      rig.Commit(kGroupNumber);
      rig.RunFor(std::chrono::milliseconds(200));
      rig.Append(kGroupNumber, 2, 900);
      rig.Settle();
      rig.rolls = true;
      const std::vector<std::string> files = Files(rig);
      ASSERT_EQ(files.size(), 4U) << about;
      rig.Crash(true);
      inflict(rig.disk(), files);
      ASSERT_TRUE(rig.Start().ok()) << about;
      // The only copy of what was not committed.
      const bool has_lost = is_large && (about.find("gone") != std::string::npos ||
                                         about.find("emptied") != std::string::npos);
      if (has_lost && rig.Recovered(kGroupNumber)->health.code() == Code::kDataLoss) continue;
      EXPECT_EQ(rig.Recovered(kGroupNumber)->health.code(), Code::kUnavailable) << about;
      rig.RunFor(std::chrono::milliseconds(100));  // leftovers go first
      RepairSteps::ReadThrough(rig);               // others ask for what is there
      while (const auto range = rig.store().damaged_range(kGroup)) {
        const Status repaired = RepairSteps::Repair(rig, *range);
        ASSERT_TRUE(repaired.ok()) << about << " " << repaired;
      }
      rig.RunFor(std::chrono::seconds(2));
      ASSERT_TRUE(rig.Recovered(kGroupNumber)->health.ok())
          << about << " " << rig.Recovered(kGroupNumber)->health;
      if (has_lost) continue;
      EXPECT_EQ(rig.CompareWithModel(), "") << about;
    }
  }
}

// It has entries above the committed end, so that it is not sealed, and what is given for it lacks
// some that compaction took, so that the others lie elsewhere in it.
TEST(RepairAtStart, TheCheckpointOfTheDamagedFile_IsNotTakenForTheOneMadeAnew) {
  LogStoreRig rig(69);
  rig.options.large_write_bytes = 512;
  rig.makes_checkpoints = true;
  RepairSteps::Prepare(rig);
  rig.rolls = false;
  for (int i = 0; i < 8; ++i) {
    rig.Append(kGroupNumber, 3, 900);
    rig.Settle();
    rig.Commit(kGroupNumber);
    rig.RunFor(std::chrono::milliseconds(200));
  }
  ASSERT_TRUE(rig.disk().Content(kCheckpoint).value_or("").size() > sizeof(SegmentTrailer));
  rig.Append(kGroupNumber, 8, 900);
  rig.Settle();
  rig.Crash(false);
  rig.disk().FlipBit(Files(rig).back(), 20, 1);
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));  // leftovers go first
  const auto range = rig.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  const auto& log = rig.entries(kGroupNumber);
  const LogIndex last_gone = range->begin.index + 2;
  std::vector<Entry> given{RepairSteps::GapOver(log, range->begin.index + 1, last_gone)};
  given.insert(given.end(), log.begin() + static_cast<ptrdiff_t>(last_gone.value()),
               log.begin() + static_cast<ptrdiff_t>(range->end.index.value()));
  const Status repaired = RepairSteps::RepairWith(rig, *range, given);
  ASSERT_TRUE(repaired.ok()) << repaired;
  rig.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig.Recovered(kGroupNumber)->health.ok()) << rig.Recovered(kGroupNumber)->health;
  for (uint64_t index = last_gone.value() + 1; index <= range->end.index.value(); ++index) {
    const auto read = rig.Read(kGroupNumber, index, 1);
    ASSERT_TRUE(read.ok()) << index << " " << read.status();
  }
}

// A start reads no payloads. What rotted there is met when others ask for it, which they do while
// the replica waits to be opened.
TEST(RepairAtStart, DamageThatIsMetOnceAllThatWasKnownIsRepaired_IsRepairedToo) {
  LogStoreRig rig(65);
  RepairSteps::Prepare(rig);
  const std::vector<std::string> files = Files(rig);
  rig.Crash(true);
  rig.disk().RemoveFile(files[1]);
  rig.disk().FlipBit(files[0], 5000, 2);
  ASSERT_TRUE(rig.Start().ok());
  rig.RunFor(std::chrono::milliseconds(100));  // leftovers go first
  ASSERT_TRUE(RepairSteps::Repair(rig, *rig.store().damaged_range(kGroup)).ok());
  ASSERT_FALSE(rig.store().HasDamage(kGroup));
  EXPECT_GT(RepairSteps::ReadThrough(rig), 0);
  const auto range = rig.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  // Longer than until the next try: it waits.
  const Status begun =
      rig.Await([&](auto done) { rig.store().BeginRepair(kReplica, *range, std::move(done)); });
  ASSERT_TRUE(begun.ok()) << begun;
  rig.RunFor(std::chrono::seconds(2));
  EXPECT_EQ(rig.Recovered(kGroupNumber)->health.code(), Code::kUnavailable);
  ASSERT_TRUE(RepairSteps::Repair(rig, *range).ok());
  rig.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig.Recovered(kGroupNumber)->health.ok());
  EXPECT_EQ(RepairSteps::ReadThrough(rig), 0);
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// The header of one, and the footer of another.
TEST(RepairAtStart, WhatCannotBeRead_CountsAsDamaged_OnceItWasTriedForLong) {
  LogStoreRig rig(68);
  RepairSteps::Prepare(rig);
  const std::vector<std::string> files = Files(rig);
  rig.Crash(true);
  rig.disk().SpoilSector(files[0], 0);
  rig.disk().SpoilSector(files[2], rig.disk().Content(files[2])->size() - 40);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(kGroupNumber)->health.code(), Code::kUnavailable);
  rig.RunFor(std::chrono::seconds(20));
  EXPECT_FALSE(rig.store().HasDamage(kGroup));
  rig.RunFor(std::chrono::seconds(40));
  ASSERT_TRUE(rig.store().HasDamage(kGroup));
  RepairSteps::ReadThrough(rig);
  while (const auto range = rig.store().damaged_range(kGroup)) {
    const Status repaired = RepairSteps::Repair(rig, *range);
    ASSERT_TRUE(repaired.ok()) << repaired;
  }
  rig.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig.Recovered(kGroupNumber)->health.ok()) << rig.Recovered(kGroupNumber)->health;
  EXPECT_EQ(rig.CompareWithModel(), "");
}

// A sync failed in this life, and then what it had synced before, into the same file, is rotten.
TEST(RepairAtStart, WhatRottedUnderAStall_IsRepairedByTheNextStart) {
  LogStoreRig rig(66);
  RepairSteps::Prepare(rig);
  rig.rolls = false;
  rig.Append(kGroupNumber, 2, 900);
  rig.Settle();
  rig.disk().FailNextSync("groups/2");
  rig.Commit(kGroupNumber);
  rig.RunFor(std::chrono::milliseconds(100));
  ASSERT_EQ(rig.store().stalled_groups(), 1U);
  rig.disk().FlipBit(Files(rig)[3], 200, 2);
  rig.RunFor(std::chrono::seconds(2));
  const Status fault = rig.faults().at(kGroupNumber);
  EXPECT_EQ(fault.code(), Code::kDataLoss);
  EXPECT_NE(fault.message().find("once this broker starts again"), std::string::npos) << fault;
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(kGroupNumber)->health.code(), Code::kUnavailable);
  rig.RunFor(std::chrono::milliseconds(100));  // leftovers go first
  const auto range = rig.store().damaged_range(kGroup);
  ASSERT_TRUE(range.has_value());
  ASSERT_TRUE(RepairSteps::Repair(rig, *range).ok());
  rig.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig.Recovered(kGroupNumber)->health.ok()) << rig.Recovered(kGroupNumber)->health;
  EXPECT_EQ(rig.CompareWithModel(), "");
}

TEST(RepairAtStart, WhatWaitsForIt_IsGivenUp_WhereTheJournalNeedsItsRoom) {
  LogStoreRig rig(67);
  RepairSteps::Prepare(rig);
  rig.CreateGroup(3);
  rig.rolls = false;
  rig.Append(kGroupNumber, 2, 900);
  rig.Settle();
  rig.disk().FailNextSync("groups/2");
  rig.Commit(kGroupNumber);
  rig.RunFor(std::chrono::milliseconds(100));
  ASSERT_EQ(rig.store().stalled_groups(), 1U);
  // More than the journal copies on to have a file back.
  for (int i = 0; i < 20; ++i) {
    rig.Append(kGroupNumber, 4, 1500);
    rig.Settle();
  }
  rig.disk().FlipBit(Files(rig)[3], 200, 2);
  rig.RunFor(std::chrono::seconds(2));
  ASSERT_TRUE(rig.faults().contains(kGroupNumber));
  rig.rolls = true;
  for (int i = 0; i < 300; ++i) {
    rig.Append(3, 4, 1500);
    rig.Settle();
    rig.Commit(3);
    rig.RunFor(std::chrono::milliseconds(5));
    ASSERT_LE(rig.store().journal_pressure(), 1.5) << i;
  }
  rig.Crash(true);
  ASSERT_TRUE(rig.Start().ok());
  EXPECT_EQ(rig.Recovered(kGroupNumber)->health.code(), Code::kDataLoss);
  EXPECT_TRUE(rig.Recovered(3)->health.ok());
}

// The same repair, ended at its first disk operation, its second, and so on: a start finds the
// damaged file or the one made anew, and nothing beside it.
TEST(RepairSweep, TheDamagedOrTheWhole_IsThere_WhereverTheMachineDies) {
  constexpr uint32_t kPass = 7;
  size_t damaged = 0;
  size_t taken_back = 0;  // of these, where the pass is to be done anew
  size_t whole = 0;
  bool has_crashed = true;
  for (uint64_t operation = 1; has_crashed; ++operation) {
    LogStoreRig rig(62);
    RepairSteps::Prepare(rig);
    const Status done =
        rig.Await([&](auto told) { rig.store().FinishPass(kReplica, kPass, std::move(told)); });
    ASSERT_TRUE(done.ok()) << done;
    const std::vector<std::string> files = Files(rig);
    rig.disk().FlipBit(files[1], 5000, 2);
    ASSERT_GT(RepairSteps::ReadThrough(rig), 0);
    const auto range = rig.store().damaged_range(kGroup);
    has_crashed = false;
    rig.disk().CrashAtOperation(operation, [&] {
      has_crashed = true;
      rig.Crash(false);
    });
    const Status repaired = RepairSteps::Repair(rig, *range);
    if (rig.is_alive()) {
      ASSERT_TRUE(repaired.ok()) << repaired;
      rig.RunFor(std::chrono::milliseconds(100));
    }
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok()) << "operation=" << operation;
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_EQ(Files(rig), files) << "operation=" << operation;
    if (RepairSteps::ReadThrough(rig) == 0) {
      ++whole;
      ASSERT_EQ(rig.CompareWithModel(), "") << "operation=" << operation;
      ASSERT_EQ(rig.store().compacted(kGroup).pass, RepairSteps::kGivenPass)
          << "operation=" << operation;
    } else {
      ++damaged;
      taken_back += rig.store().compacted(kGroup).pass == kPass ? 0 : 1;
      ASSERT_TRUE(RepairSteps::Repair(rig, *rig.store().damaged_range(kGroup)).ok());
      ASSERT_EQ(rig.CompareSegments(kGroupNumber), "") << "operation=" << operation;
    }
  }
  EXPECT_GT(damaged, 10U);
  EXPECT_GT(taken_back, 1U) << "before the file is in its place";
  EXPECT_LT(taken_back, damaged);
  EXPECT_GT(whole, 1U);
}

// One call of the disk fails: who repairs hears of it, and tries again.
TEST(RepairSweep, AnErrorOfTheDisk_IsTold_AndTheNextTryRepairs) {
  for (const Status& error :
       {Internal("input/output error"), ResourceExhausted("no room", Reason::kDiskFull)}) {
    size_t errors = 0;
    bool has_failed = true;
    for (uint64_t call = 1; has_failed; ++call) {
      LogStoreRig rig(63);
      RepairSteps::Prepare(rig);
      rig.disk().FlipBit(Files(rig)[1], 5000, 2);
      ASSERT_GT(RepairSteps::ReadThrough(rig), 0);
      const auto range = rig.store().damaged_range(kGroup);
      has_failed = false;
      bool is_segments = false;
      rig.disk().FailCall(call, error, [&](sim::SimDisk::Kind, const std::string& path) {
        has_failed = true;
        is_segments = path.starts_with("groups");
      });
      const Status repaired = RepairSteps::Repair(rig, *range);
      rig.disk().ForgetFaults();
      if (has_failed && !is_segments) continue;
      if (!repaired.ok()) {
        ++errors;
        rig.store().EndRestore(kReplica);
        ASSERT_TRUE(RepairSteps::Repair(rig, *range).ok()) << "call=" << call << " " << repaired;
      }
      ASSERT_EQ(rig.CompareSegments(kGroupNumber), "") << "call=" << call;
      rig.Crash(true);
      ASSERT_TRUE(rig.Start().ok()) << "call=" << call;
      ASSERT_EQ(rig.CompareWithModel(), "") << "call=" << call;
    }
    EXPECT_GT(errors, 10U);
  }
}

}  // namespace
}  // namespace millrace::storage

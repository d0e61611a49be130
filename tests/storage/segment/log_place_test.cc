// Where a replica's log lies: from where on, in which folder, under which configuration, and with
// which state. The sequences S1 to S6 are those of docs/formats.md.
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "storage/segment/folders.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

using raft::core::Configuration;

std::string PathOf(uint64_t first) { return SegmentPath(SegmentRig::kFolder, LogIndex(first)); }

// A log whose entries up to `end` were dropped.
journal::LogRecord BeginningAt(const LogPoint& begin, journal::LogRecord log) {
  log.begin = begin;
  return log;
}

// Three sealed segments and one more; their ends.
std::vector<LogPoint> Filled(SegmentRig* rig) {
  std::vector<LogPoint> ends;
  for (int i = 0; i < 4; ++i) {
    rig->maker.set_term(Term(static_cast<uint64_t>(i) + 1));
    rig->Append(rig->maker.NoOp());
    rig->Append(rig->maker.Batch(2, 50));
    ends.push_back(i == 3 ? rig->Sync() : rig->Seal("state " + std::to_string(i)));
  }
  return ends;
}

TEST(LogPlace, LogThatBeginsLater_IsRecoveredFromThereOn_AndWhatIsBelowGoes) {
  for (const bool is_removed_before : {false, true}) {
    SegmentRig rig(1);
    const std::vector<LogPoint> ends = Filled(&rig);
    rig.Restart(true);
    if (is_removed_before) rig.disk.RemoveFile(PathOf(1));
    const auto recovered = rig.Recover(BeginningAt(ends[1], rig.LogUpTo(ends[3])));
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    ASSERT_EQ(recovered->term_starts.size(), 2U);
    EXPECT_EQ(recovered->term_starts[0].first_index, LogIndex(5));
    EXPECT_EQ(recovered->snapshot->state.view(), "state 2");
    EXPECT_FALSE(rig.disk.Content(PathOf(1)).has_value());
    EXPECT_FALSE(rig.disk.Content(PathOf(3)).has_value());
    EXPECT_TRUE(rig.Read(5, 1).ok());
    EXPECT_EQ(rig.Read(4, 1).status().code(), Code::kOutOfRange);
    rig.Append(rig.maker.Batch(1, 10));
    EXPECT_EQ(rig.Sync().index, LogIndex(9));
  }
}

TEST(LogPlace, LogThatWasDroppedAsAWhole_IsEmptyAndGoesOn) {
  SegmentRig rig(2);
  const std::vector<LogPoint> ends = Filled(&rig);
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(BeginningAt(ends[3], rig.LogUpTo(ends[3]))).ok());
  for (const uint64_t first : {1, 3, 5, 7}) {
    EXPECT_FALSE(rig.disk.Content(PathOf(first)).has_value()) << first;
  }
  rig.Append(rig.maker.Batch(1, 10));
  EXPECT_TRUE(rig.Read(9, 1).ok());
}

// S6: a begin that was forgotten looks like a lost file, and one that was lost like damage; nothing
// is taken for the log's beginning but what the journal says.
TEST(LogPlace, S6_LogThatDoesNotBeginWhereTheJournalSays_IsDamaged) {
  for (const bool is_within : {false, true}) {
    SegmentRig rig(3);
    const std::vector<LogPoint> ends = Filled(&rig);
    rig.Restart(true);
    LogPoint begin = ends[1];
    if (is_within) {
      begin = EndAfter(ParseFrameHeader(rig.entries[4].frame.view()).value());
    } else {
      rig.disk.RemoveFile(PathOf(5));
    }
    const std::vector<std::string> before = rig.disk.Paths();
    const auto recovered = rig.Recover(BeginningAt(begin, rig.LogUpTo(ends[3])));
    EXPECT_EQ(recovered.status().code(), Code::kDataLoss) << recovered.status();
    EXPECT_EQ(rig.disk.Paths(), before);
  }
}

// The first segment's header says what it follows on.
TEST(LogPlace, BeginThatIsAnotherLogs_IsDamage) {
  SegmentRig rig(4);
  const std::vector<LogPoint> ends = Filled(&rig);
  rig.Restart(true);
  LogPoint begin = ends[1];
  ++begin.chain;
  EXPECT_EQ(rig.RecoverDamaged(BeginningAt(begin, rig.LogUpTo(ends[3]))).code(), Code::kDataLoss);
}

// Nothing is dropped on the word of a begin that the end does not bear out.
TEST(LogPlace, BeginThatIsNotUpToTheEnd_IsDamage_AndRemovesNothing) {
  for (const bool is_beyond : {false, true}) {
    SegmentRig rig(7);
    const std::vector<LogPoint> ends = Filled(&rig);
    rig.Restart(true);
    LogPoint begin = ends[is_beyond ? 3 : 2];
    if (!is_beyond) ++begin.chain;
    const auto recovered = rig.Recover(BeginningAt(begin, rig.LogUpTo(ends[2])));
    EXPECT_EQ(recovered.status().code(), Code::kDataLoss);
    for (const uint64_t first : {1, 3, 5, 7}) {
      EXPECT_TRUE(rig.disk.Content(PathOf(first)).has_value()) << first;
    }
  }
}

TEST(LogPlace, ConfigurationInForce_IsToldWithEverySync_AndOutlivesRestarts) {
  const auto with = [](uint32_t number) {
    return Configuration{.voters = {{BrokerId(1), Incarnation(1), ReplicaNumber(number)}},
                         .outgoing = {},
                         .learners = {}};
  };
  SegmentRig rig(5);
  rig.Append(rig.maker.NoOp());
  rig.Append(rig.maker.Configure(with(2)));
  rig.Append(rig.maker.Batch(1, 10));
  const LogPoint first = rig.Sync();
  EXPECT_EQ(rig.reached().configuration_index, LogIndex(2));
  EXPECT_EQ(rig.reached().configuration, with(2));
  rig.Append(rig.maker.Configure(with(3)));
  const LogPoint end = rig.Seal("state");
  EXPECT_EQ(rig.reached().configuration_index, LogIndex(4));
  rig.Restart(true);
  // The journal knows the older end: the one above is written again, and not in force yet.
  ASSERT_TRUE(rig.Recover(first).ok());
  rig.Sync();
  EXPECT_EQ(rig.reached().configuration, with(2));
  rig.Append(rig.entries[3]);
  rig.entries.pop_back();
  rig.Seal("state");
  EXPECT_EQ(rig.reached().configuration, with(3));
  // And a segment that holds none begins with the one in force.
  rig.Restart(true);
  ASSERT_TRUE(rig.Recover(end).ok());
  rig.Append(rig.maker.Batch(1, 10));
  rig.Sync();
  EXPECT_EQ(rig.reached().configuration_index, LogIndex(4));
  EXPECT_EQ(rig.reached().configuration, with(3));
}

TEST(LogPlace, ConfigurationThatTheJournalDoesNotKnow_IsDamage) {
  SegmentRig rig(6);
  rig.Append(rig.maker.Configure({.voters = {{BrokerId(1), Incarnation(1), ReplicaNumber(2)}},
                                  .outgoing = {},
                                  .learners = {}}));
  const LogPoint end = rig.Sync();
  rig.Restart(true);
  EXPECT_EQ(rig.Recover(journal::LogRecord{.end = end}).status().code(), Code::kDataLoss);
}

// S2: one rotten state, or one rotten byte of it, costs what lies above the one before.
TEST(LogPlace, S2_RottenState_LeavesTheOneBefore) {
  SegmentRig rig(7);
  const std::vector<LogPoint> ends = Filled(&rig);
  rig.Restart(true);
  const std::string content = rig.disk.Content(PathOf(5)).value();
  rig.disk.FlipBit(PathOf(5), content.find("state 2") + 3, 2);
  const auto recovered = rig.Recover(ends[3]);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->snapshot->index, LogIndex(4));
  EXPECT_EQ(recovered->snapshot->state.view(), "state 1");
}

// Only the newest: a start must not read the state of every segment. (The last one is scanned,
// too.)
TEST(LogPlace, OfManyStates_OneIsRead) {
  SegmentRig rig(8);
  const std::string large(1 << 20, 's');
  for (int i = 0; i < 5; ++i) {
    rig.Append(rig.maker.NoOp());
    rig.Seal(large);
  }
  const LogPoint end = rig.Sync();
  rig.Restart(true);
  const uint64_t before = rig.disk.bytes_read();
  ASSERT_TRUE(rig.Recover(end).ok());
  EXPECT_LT(rig.disk.bytes_read() - before, 3 * large.size());
}

Status RemoveUnwanted(SegmentRig* rig, const SegmentFolder& kept) {
  return rig->RemoveFolders([kept](const SegmentFolder& found) { return found != kept; });
}

// S1: a restore fills another folder, and the journal's record is the switch. Whichever came first,
// the folder that the record names is the log, and the other one goes.
TEST(LogPlace, S1_FolderThatTheJournalNames_IsTheLog_AndAnyOtherGoes) {
  const SegmentFolder next{
      .group = SegmentRig::kGroup, .number = SegmentRig::kFolder.number, .generation = 1};
  const SegmentFolder later{.group = SegmentRig::kGroup, .number = ReplicaNumber(4)};
  for (const SegmentFolder& kept : {SegmentRig::kFolder, next}) {
    SegmentRig rig(9);
    const std::vector<LogPoint> ends = Filled(&rig);
    for (const std::string& path : rig.disk.Paths()) {
      const std::string name = path.substr(path.rfind('/'));
      rig.disk.PutFile(SegmentDirectory(next) + name, rig.disk.Content(path).value());
    }
    rig.disk.PutFile(SegmentDirectory(later) + "/half", "of a later replica");
    rig.disk.PutFile("groups/7/notes.txt", "mine");
    rig.Restart(false, kept);
    const auto recovered = rig.Recover(rig.LogUpTo(ends[3]));
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    ASSERT_TRUE(RemoveUnwanted(&rig, kept).ok());
    for (const std::string& path : rig.disk.Paths()) {
      EXPECT_TRUE(path.starts_with(SegmentDirectory(kept) + "/") || path == "groups/7/notes.txt")
          << path;
    }
    rig.ExpectAllReadable(8);
  }
}

TEST(LogPlace, RemovedReplicasFolders_GoWithTheGroups_ButForOthersFiles) {
  SegmentRig rig(10);
  Filled(&rig);
  ASSERT_TRUE(rig.RemoveFolders([](const SegmentFolder&) { return true; }).ok());
  EXPECT_TRUE(rig.disk.Paths().empty());
  EXPECT_FALSE(rig.disk.HasDirectory("groups/7"));
  ASSERT_TRUE(rig.RemoveFolders([](const SegmentFolder&) { return true; }).ok());
}

}  // namespace
}  // namespace millrace::storage

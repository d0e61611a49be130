// What saves a start from reading the last segment, and what is never taken for that.
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "raft/core/gap_entry.h"
#include "tests/storage/segment/segment_rig.h"

namespace millrace::storage {
namespace {

constexpr uint64_t kBefore = 80;  // entries, up to the checkpoint
constexpr uint64_t kAfter = 5;
constexpr uint32_t kPayloadBytes = 4 << 10;
// What is read to see that frames lie where a checkpoint says.
constexpr uint64_t kPlaceBytes = 64 << 10;

std::string PathOf(uint64_t first) { return SegmentPath(SegmentRig::kFolder, LogIndex(first)); }
const std::string kCheckpoint = CheckpointPath(SegmentRig::kFolder);

LogPoint AppendSome(SegmentRig* rig, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) rig->Append(rig->maker.Batch(3, kPayloadBytes));
  return rig->Sync();
}

// One segment with a checkpoint in it, and some more entries.
LogPoint FillWithCheckpoint(SegmentRig* rig) {
  AppendSome(rig, kBefore);
  rig->Checkpoint("state");
  return AppendSome(rig, kAfter);
}

// The same, sealed; the checkpoint as it was before that.
std::string CheckpointOfSealed(SegmentRig* rig) {
  FillWithCheckpoint(rig);
  std::string checkpoint = *rig->disk.Content(kCheckpoint);
  rig->Seal("sealed");
  return checkpoint;
}

void RestartWith(SegmentRig* rig, const std::string& checkpoint) {
  rig->Restart(/*power=*/false);
  rig->disk.PutFile(kCheckpoint, checkpoint);
}

// The segment of the same log from which compaction took the first entries; sealed, or written on.
std::string MadeAnew(const SegmentRig& rig, const std::optional<std::string>& sealed_with) {
  constexpr size_t kGone = 3;
  SegmentRig anew(20);
  const FrameHeader last = rig.entries[kGone - 1].frame.header();
  const LogPoint end = EndAfter(last);
  anew.Append(raft::core::GapEntry({.group = SegmentRig::kGroup,
                                    .term = end.term,
                                    .first = LogIndex(1),
                                    .last = end.index,
                                    .base_offset = Offset(0),
                                    .offset_span = static_cast<uint32_t>(end.next_offset.value()),
                                    .append_time_ms = last.append_time_ms,
                                    .chain = end.chain}));
  for (size_t i = kGone; i < rig.entries.size(); ++i) anew.Append(rig.entries[i]);
  anew.Sync();
  if (sealed_with.has_value()) anew.Seal(*sealed_with);
  return *anew.disk.Content(PathOf(1));
}

// Of a log of which MadeAnew is the file.
void ExpectAllThere(SegmentRig* rig, const LogPoint& end) {
  const auto recovered = rig->Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_TRUE(recovered->damaged.empty()) << recovered->damaged.front().why;
  EXPECT_EQ(recovered->next_offset, end.next_offset);
  for (uint64_t index = 4; index <= end.index.value(); ++index) {
    const auto read = rig->Read(index, 1);
    ASSERT_TRUE(read.ok()) << "index=" << index << " " << read.status();
    EXPECT_EQ(read->front().frame.view(), rig->entries[index - 1].frame.view());
  }
}

// What a start reads, and whether all is there afterwards and goes on.
uint64_t ExpectWhole(SegmentRig* rig, const LogPoint& end,
                     const std::optional<std::string>& state) {
  const uint64_t before = rig->disk.bytes_read();
  const auto recovered = rig->Recover(end);
  const uint64_t bytes_read = rig->disk.bytes_read() - before;
  EXPECT_TRUE(recovered.ok()) << recovered.status();
  if (!recovered.ok()) return 0;
  EXPECT_TRUE(recovered->damaged.empty());
  EXPECT_EQ(recovered->next_offset, end.next_offset);
  EXPECT_EQ(recovered->snapshot.has_value(), state.has_value());
  if (state.has_value() && recovered->snapshot.has_value()) {
    EXPECT_EQ(recovered->snapshot->state.view(), *state);
  }
  rig->ExpectAllReadable(end.index.value());
  rig->Append(rig->maker.Batch(1, 10));
  EXPECT_EQ(rig->Sync().index, end.index + 1);
  rig->ExpectAllReadable(end.index.value() + 1);
  return bytes_read;
}

TEST(Checkpoint, AStartReadsNoFramesBelowIt) {
  SegmentRig rig(1);
  const LogPoint end = FillWithCheckpoint(&rig);
  rig.Restart(/*power=*/false);
  const uint64_t bytes = ExpectWhole(&rig, end, "state");
  EXPECT_LT(bytes, kPlaceBytes + (kAfter + 3) * kPayloadBytes)
      << "of " << (kBefore + kAfter) * kPayloadBytes;
}

TEST(Checkpoint, APowerCutMayTakeIt_AndNothingElse) {
  SegmentRig rig(1);
  const LogPoint end = FillWithCheckpoint(&rig);
  rig.Restart(/*power=*/true);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_EQ(recovered->next_offset, end.next_offset);
  rig.ExpectAllReadable(end.index.value());
}

TEST(Checkpoint, WhatItSavesReading_IsIndexedAsIfItHadBeenRead) {
  std::optional<std::string> sealed_with;
  for (const bool has_checkpoint : {false, true}) {
    SegmentRig rig(2);
    rig.maker.set_append_time_ms(1000);
    AppendSome(&rig, kBefore / 2);
    rig.maker.set_term(Term(2));
    rig.maker.set_append_time_ms(2000);
    rig.Append(rig.maker.BatchAt(5000, 10));
    AppendSome(&rig, kBefore / 2);
    if (has_checkpoint) rig.Checkpoint("state");
    const LogPoint end = AppendSome(&rig, kAfter);
    rig.Restart(false);
    const auto recovered = rig.Recover(end);
    ASSERT_TRUE(recovered.ok()) << recovered.status();
    EXPECT_EQ(recovered->active.first_append_ms, 1000);
    EXPECT_EQ(recovered->active.last_append_ms, 2000);
    EXPECT_EQ(recovered->term_starts.size(), 2U);
    EXPECT_EQ(recovered->active.checkpointed > 0, has_checkpoint);
    rig.Seal("end");
    const std::string content = *rig.disk.Content(PathOf(1));
    if (!has_checkpoint) {
      sealed_with = content;
    } else {
      EXPECT_EQ(content, *sealed_with);
    }
  }
}

TEST(Checkpoint, ANewerOne_IsTakenInItsPlace_ThoughItIsShorter) {
  SegmentRig rig(3);
  AppendSome(&rig, kBefore);
  rig.Checkpoint(std::string(10'000, 'a'));
  AppendSome(&rig, kAfter);
  rig.Checkpoint("b");
  const LogPoint end = AppendSome(&rig, 1);
  rig.Restart(false);
  EXPECT_GT(ExpectWhole(&rig, end, "b"), 0U);
}

TEST(Checkpoint, OneThatIsRottenOrTorn_IsPassedOver) {
  SegmentRig made(4);
  FillWithCheckpoint(&made);
  const uint64_t size = made.disk.Content(kCheckpoint)->size();
  for (uint64_t at = 0; at < size; ++at) {
    for (const bool is_torn : {false, true}) {
      SegmentRig rig(4);
      const LogPoint end = FillWithCheckpoint(&rig);
      rig.Restart(false);
      if (is_torn) {
        rig.disk.TruncateFile(kCheckpoint, at);
      } else {
        rig.disk.FlipBit(kCheckpoint, at, at % 8);
      }
      ExpectWhole(&rig, end, std::nullopt);
      if (HasFailure()) FAIL() << "at=" << at << " is_torn=" << is_torn;
    }
  }
}

// The journal may not have heard of the sync that came before it.
TEST(Checkpoint, OneAboveTheJournalsEnd_IsPassedOver) {
  SegmentRig rig(5);
  const LogPoint told = AppendSome(&rig, kBefore);
  AppendSome(&rig, kAfter);
  rig.Checkpoint("state");
  rig.Restart(false);
  const auto recovered = rig.Recover(told);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_FALSE(recovered->snapshot.has_value());
  rig.ExpectAllReadable(told.index.value());
  for (uint64_t i = 0; i < kAfter; ++i) {
    ASSERT_TRUE(rig.TryAppend({rig.entries[told.index.value() + i]}).ok());
  }
  const LogPoint end = rig.Sync();
  rig.Restart(false);
  EXPECT_LT(ExpectWhole(&rig, end, "state"), kPlaceBytes + 3 * kPayloadBytes)
      << "now it is what it tells of";
}

TEST(Checkpoint, OneOfAnotherSegment_IsPassedOver) {
  SegmentRig rig(6);
  const std::string older = CheckpointOfSealed(&rig);
  const LogPoint end = AppendSome(&rig, kAfter);
  RestartWith(&rig, older);
  EXPECT_GT(ExpectWhole(&rig, end, "sealed"), kAfter * kPayloadBytes);
}

// Somebody put it there: of another generation of the same replica, or of another cluster's. Of the
// same size, even: then frames end where it says, and are others.
TEST(Checkpoint, OneOfAnotherLog_IsPassedOver_WhereverThatEnds) {
  for (const uint32_t payload_bytes : {kPayloadBytes - 500, kPayloadBytes}) {
    SCOPED_TRACE(payload_bytes);
    SegmentRig other(6);
    for (uint64_t i = 0; i < kBefore; ++i) other.Append(other.maker.Batch(2, payload_bytes));
    other.Checkpoint("another's");
    SegmentRig rig(6);
    const LogPoint end = FillWithCheckpoint(&rig);
    RestartWith(&rig, *other.disk.Content(kCheckpoint));
    ExpectWhole(&rig, end, std::nullopt);
  }
}

// A repair put it in the place of a damaged one, from what a replica gave that had compacted.
TEST(Checkpoint, InAFileThatWasMadeAnew_ItIsPassedOver) {
  SegmentRig rig(14);
  const LogPoint end = FillWithCheckpoint(&rig);
  rig.Restart(false);
  rig.disk.PutFile(PathOf(1), MadeAnew(rig, std::nullopt));
  ExpectAllThere(&rig, end);
}

// Its last bytes may be gone, and with them that it is sealed. Cut off where frames do not end,
// entries would be lost with the state.
TEST(Checkpoint, InASealedFileThatWasMadeAnew_ItCostsNoEntry_WhateverIsRottenBehindThem) {
  SegmentRig rig(15);
  AppendSome(&rig, kBefore);
  const LogPoint end = rig.Checkpoint("state");
  rig.Restart(false);
  std::string sealed = MadeAnew(rig, std::string(100'000, 's'));
  sealed.back() ^= 1;
  rig.disk.PutFile(PathOf(1), std::move(sealed));
  ExpectAllThere(&rig, end);
}

// It begins behind entries from which compaction took some, so that its state would be too old.
TEST(Checkpoint, WhereItCannotBeReadWhetherTheFileIsSealed_ItIsPassedOver) {
  constexpr uint64_t kCallsOfStart = 12;
  for (uint64_t call = 1; call <= kCallsOfStart; ++call) {
    SegmentRig rig(16);
    FillWithCheckpoint(&rig);
    const std::string older = *rig.disk.Content(kCheckpoint);
    const LogPoint end = rig.Seal("sealed");
    RestartWith(&rig, older);
    rig.disk.FailCall(call, Unavailable("Input/output error"));
    const auto recovered = rig.Recover(end);
    if (!recovered.ok()) {
      EXPECT_EQ(recovered.status().code(), Code::kUnavailable) << "call=" << call;
      continue;
    }
    ASSERT_TRUE(recovered->snapshot.has_value()) << "call=" << call;
    EXPECT_EQ(recovered->snapshot->state.view(), "sealed") << "call=" << call;
  }
}

TEST(Checkpoint, WhereFramesBehindItAreDamaged_TheFileIsDamaged) {
  SegmentRig rig(7);
  const LogPoint end = FillWithCheckpoint(&rig);
  rig.Restart(false);
  rig.disk.FlipBit(PathOf(1), rig.disk.Content(PathOf(1))->size() - 100, 1);
  const auto recovered = rig.Recover(end);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  ASSERT_EQ(recovered->damaged.size(), 1U);
  EXPECT_EQ(recovered->damaged.front().first, LogIndex(1));
  EXPECT_FALSE(recovered->snapshot.has_value());
}

TEST(Checkpoint, AFileThatIsCutOffBelowIt_IsDamaged) {
  SegmentRig rig(8);
  const LogPoint end = FillWithCheckpoint(&rig);
  rig.Restart(false);
  const uint64_t whole = rig.disk.Content(PathOf(1))->size();
  rig.disk.TruncateFile(PathOf(1), whole / 2);
  EXPECT_EQ(rig.RecoverDamaged(end).code(), Code::kDataLoss);
}

TEST(Checkpoint, ThatTheLastSegmentIsSealed_SavesReadingIt) {
  SegmentRig rig(9);
  AppendSome(&rig, kBefore);
  const LogPoint end = rig.Seal("sealed");
  rig.Restart(false);
  EXPECT_LT(ExpectWhole(&rig, end, "sealed"), 2 * kPayloadBytes);
}

// Sealed, and the journal does not know: what lies above its end is not committed, for all that
// anybody here knows.
TEST(Checkpoint, ASealedSegmentThatEndsElsewhere_IsRead) {
  SegmentRig rig(10);
  const LogPoint told = AppendSome(&rig, kBefore);
  AppendSome(&rig, kAfter);
  rig.Seal("sealed");
  rig.Restart(false);
  const auto recovered = rig.Recover(told);
  ASSERT_TRUE(recovered.ok()) << recovered.status();
  EXPECT_TRUE(recovered->sealed.empty());
  EXPECT_EQ(recovered->next_offset, told.next_offset);
}

// In a file that compaction made anew frames lie elsewhere.
TEST(Checkpoint, AnOlderOne_IsNotTakenForASealedSegment) {
  SegmentRig rig(11);
  const std::string older = CheckpointOfSealed(&rig);
  const LogPoint end = rig.reached().end;
  RestartWith(&rig, older);
  EXPECT_GT(ExpectWhole(&rig, end, "sealed"), kBefore * kPayloadBytes);
}

TEST(Checkpoint, WhereNothingIsCommitted_ThereIsNone) {
  SegmentRig rig(13);
  AppendSome(&rig, 2);
  rig.Seal("sealed");
  const std::string told = *rig.disk.Content(kCheckpoint);
  EXPECT_TRUE(rig.TryCheckpoint("state").ok()) << "with no active segment";
  rig.entries.push_back(rig.maker.Batch(1, 10));
  ASSERT_TRUE(rig.TryWrite({rig.entries.back()}).ok());
  EXPECT_TRUE(rig.TryCheckpoint("state").ok()) << "with one that holds no committed entry";
  EXPECT_EQ(rig.disk.Content(kCheckpoint), told);
}

TEST(Checkpoint, OneThatCannotBeWritten_IsNone_AndNothingElseFails) {
  SegmentRig rig(12);
  AppendSome(&rig, kBefore);
  rig.disk.FailNext(sim::SimDisk::Kind::kChange, kCheckpoint, Unavailable("EIO"));
  rig.Checkpoint("state");
  const LogPoint end = AppendSome(&rig, kAfter);
  rig.disk.ForgetFaults();
  rig.Restart(false);
  ExpectWhole(&rig, end, std::nullopt);
}

}  // namespace
}  // namespace millrace::storage

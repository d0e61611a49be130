// Sealed segments of which compaction leaves something else than was appended: they take the place
// of those that they are made of, whatever happens meanwhile.
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "raft/core/gap_entry.h"
#include "tests/storage/logstore/one_group.h"

namespace millrace::storage {
namespace {

using raft::core::Entry;

struct CompactionSteps {
  static void Prepare(LogStoreRig& rig) { StartFilled(rig, 4); }

  // Where each sealed segment begins.
  static std::vector<LogPoint> Begins(LogStoreRig& rig) {
    std::vector<LogPoint> begins{LogPoint{}};
    for (const auto& segment : rig.store().sealed_segments(kGroup)) begins.push_back(segment.end);
    begins.pop_back();
    return begins;
  }

  // Whether the entry is one that stays.
  using Stays = std::function<bool(LogIndex)>;
  // What is left between the two: entries, and gaps.
  static std::vector<Entry> Left(LogStoreRig& rig, LogIndex after, LogIndex last,
                                 const Stays& stays) {
    std::vector<Entry> left;
    for (uint64_t index = after.value() + 1; index <= last.value(); ++index) {
      const Entry& entry = rig.entries(kGroupNumber)[index - 1];
      const FrameHeader header = entry.frame.header();
      if (stays(entry.index)) {
        left.push_back(entry);
        continue;
      }
      GapEnds ends{.group = kGroup,
                   .term = entry.term,
                   .first = entry.index,
                   .last = entry.index,
                   .base_offset = header.base_offset,
                   .offset_span = header.offset_span,
                   .append_time_ms = header.append_time_ms,
                   .chain = entry.chain};
      if (!left.empty() && left.back().type == raft::core::EntryType::kGap &&
          left.back().term == entry.term) {
        const FrameHeader before = left.back().frame.header();
        ends.first = before.index;
        ends.base_offset = before.base_offset;
        ends.offset_span += before.offset_span;
        left.pop_back();
      }
      left.push_back(raft::core::GapEntry(ends));
    }
    return left;
  }

  static Status Rewrite(LogStoreRig& rig, size_t place, const Stays& stays, uint32_t settled = 0) {
    const LogIndex begin = Begins(rig)[place].index;
    const LogIndex last = rig.store().sealed_segments(kGroup)[place].end.index;
    const Status begun =
        rig.Await([&](auto done) { rig.store().BeginRewrite(kReplica, begin, std::move(done)); });
    if (!begun.ok()) return begun;
    for (Entry& entry : Left(rig, begin, last, stays)) {
      const Status appended = rig.Await([&](auto done) {
        rig.store().AppendRewritten(kReplica, {std::move(entry)}, std::move(done));
      });
      if (!appended.ok()) return appended;
    }
    return rig.Await(
        [&](auto done) { rig.store().FinishRewrite(kReplica, settled, std::move(done)); });
  }

  // A start needs nothing of what is gone.
  static void ExpectWholeLog(LogStoreRig& rig) {
    const raft::RecoveredReplica& replica = *rig.Recovered(kGroupNumber);
    ASSERT_TRUE(replica.health.ok()) << replica.health;
    EXPECT_EQ(replica.initial.log.last_index().value(), rig.last_index(kGroupNumber));
    EXPECT_EQ(replica.initial.log.last_chain(), rig.entries(kGroupNumber).back().chain);
  }

  // Reads all by index: "" if it is what stays, and what follows on; else what is wrong.
  static std::string Compare(LogStoreRig& rig, const Stays& stays) {
    LogPoint end{};
    size_t gaps = 0;
    while (end.index < rig.store().readable_end(kGroup)) {
      const auto read = rig.Read(kGroupNumber, end.index.value() + 1, 2000);
      if (!read.ok()) return std::string(read.status().message());
      for (const Entry& entry : *read) {
        const FrameHeader header = entry.frame.header();
        if (const Status follows = raft::CheckFollows(end, kGroup, header); !follows.ok()) {
          return std::string(follows.message());
        }
        end = raft::EndAfter(header);
        const bool is_gap = entry.type == raft::core::EntryType::kGap;
        gaps += is_gap ? 1 : 0;
        for (LogIndex index = entry.index; index <= end.index; index = index + 1) {
          if (stays(index) == is_gap) return "entry " + std::to_string(index.value());
        }
      }
    }
    return gaps > 0 ? "" : "nothing is gone";
  }
};

bool EveryThird(LogIndex index) { return index.value() % 3 == 0; }

class CompactionTest : public testing::Test, protected CompactionSteps {
 protected:
  void SetUp() override { Prepare(rig_); }
  // Entries of sealed segments up to the newest state, in which some are gone; all others are
  // there.
  bool StaysAfterAll(LogIndex index) const { return EveryThird(index) || index > rewritten_end_; }
  void RewriteAll(uint32_t settled = 0) {
    rewritten_end_ = rig_.store().rewritable_end(kGroup);
    ASSERT_GT(rewritten_end_, LogIndex());
    const size_t count = rig_.store().sealed_segments(kGroup).size();
    for (size_t place = 0; place < count; ++place) {
      if (rig_.store().sealed_segments(kGroup)[place].end.index > rewritten_end_) break;
      const Status rewritten = Rewrite(rig_, place, EveryThird, settled);
      ASSERT_TRUE(rewritten.ok()) << rewritten;
    }
  }
  std::string CompareAll() {
    return Compare(rig_, [this](LogIndex index) { return StaysAfterAll(index); });
  }

  LogStoreRig rig_{71};
  LogIndex rewritten_end_;
};

TEST_F(CompactionTest, WhatIsLeft_FollowsOn_AndIsThereAfterARestart) {
  const std::vector<std::string> files = Files(rig_);
  uint64_t bytes_before = 0;
  for (const auto& segment : rig_.store().sealed_segments(kGroup)) bytes_before += segment.bytes;
  RewriteAll(/*settled=*/4);
  EXPECT_EQ(CompareAll(), "");
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_EQ(Files(rig_), files);
  uint64_t bytes = 0;
  for (const auto& segment : rig_.store().sealed_segments(kGroup)) bytes += segment.bytes;
  EXPECT_LT(bytes, bytes_before / 2);
  EXPECT_EQ(rig_.store().compacted(kGroup), (raft::core::CompactionPoint{.pass = 0, .settled = 4}));
  const Status told =
      rig_.Await([&](auto done) { rig_.store().FinishPass(kReplica, 9, std::move(done)); });
  ASSERT_TRUE(told.ok()) << told;

  rig_.Crash(true);
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_EQ(CompareAll(), "");
  ExpectWholeLog(rig_);
  EXPECT_GE(rig_.Recovered(kGroupNumber)->snapshot->index,
            rig_.Recovered(kGroupNumber)->rewritten_end);
  EXPECT_EQ(rig_.store().compacted(kGroup), (raft::core::CompactionPoint{.pass = 9, .settled = 4}));
  // Once more, of what was rewritten.
  rewritten_end_ = rig_.store().rewritable_end(kGroup);
  const auto every_ninth = [](LogIndex index) { return index.value() % 9 == 0; };
  ASSERT_TRUE(Rewrite(rig_, 0, every_ninth).ok());
  const LogIndex first_end = rig_.store().sealed_segments(kGroup)[0].end.index;
  EXPECT_EQ(Compare(rig_,
                    [&](LogIndex index) {
                      return index <= first_end ? every_ninth(index) : StaysAfterAll(index);
                    }),
            "");
  EXPECT_EQ(rig_.store().compacted(kGroup).settled, 4U) << "what went before stays gone";
}

TEST_F(CompactionTest, EachOffset_IsFoundInTheEntryOrTheGapThatHoldsIt) {
  RewriteAll();
  for (const Entry& entry : rig_.entries(kGroupNumber)) {
    if (entry.index > rig_.store().readable_end(kGroup)) break;
    const FrameHeader header = entry.frame.header();
    if (header.offset_span == 0) continue;
    const auto read = rig_.ReadFromOffset(kGroupNumber, header.base_offset.value(), 1);
    ASSERT_TRUE(read.ok()) << read.status();
    const FrameHeader found = read->front().frame.header();
    EXPECT_LE(found.base_offset, header.base_offset);
    EXPECT_GT(found.base_offset + found.offset_span, header.base_offset);
    const auto by_index = rig_.Read(kGroupNumber, entry.index.value(), 1);
    ASSERT_TRUE(by_index.ok()) << by_index.status();
    EXPECT_LE(by_index->front().index, entry.index);
    EXPECT_GE(LastIndexOf(by_index->front().frame.header()), entry.index);
  }
}

// Positions in the one file are none in the other.
TEST_F(CompactionTest, ReadsThatAreUnderWay_FindWhatTheyLookFor) {
  const LogIndex last = rig_.store().sealed_segments(kGroup)[0].end.index;
  int answers = 0;
  for (int turn = 0; turn < 40; ++turn) {
    rig_.RunFor(std::chrono::microseconds(turn));
    const LogIndex begin;
    rig_.store().BeginRewrite(kReplica, begin, [](const Status&) {});
    std::vector<Entry> left = Left(rig_, begin, last, [turn](LogIndex index) {
      return index.value() % 5 != static_cast<uint64_t>(turn) % 5;
    });
    rig_.store().AppendRewritten(kReplica, std::move(left), [](const Status&) {});
    bool is_done = false;
    rig_.store().FinishRewrite(kReplica, 0, [&is_done](const Status&) { is_done = true; });
    while (!is_done) {
      rig_.store().Read(kGroup, last - 1, 1, [&](const Result<std::vector<Entry>>& read) {
        ++answers;
        EXPECT_TRUE(read.ok()) << read.status();
      });
      rig_.RunFor(std::chrono::microseconds(50));
    }
  }
  rig_.RunFor(std::chrono::milliseconds(100));
  EXPECT_GT(answers, 1000);
  EXPECT_FALSE(rig_.store().HasDamage(kGroup));
}

TEST_F(CompactionTest, ARewrite_IsGivenUp_WhereSomethingElseReplacesTheSegment) {
  const LogIndex begin;
  ASSERT_TRUE(
      rig_.Await([&](auto done) { rig_.store().BeginRewrite(kReplica, begin, std::move(done)); })
          .ok());
  rig_.disk().FlipBit(Files(rig_)[1], 5000, 2);
  const LogIndex second = rig_.store().sealed_segments(kGroup)[0].end.index;
  for (LogIndex index = second + 1; !rig_.store().HasDamage(kGroup); index = index + 1) {
    const auto read = rig_.Read(kGroupNumber, index.value(), 1);
    ASSERT_LE(index, rig_.store().readable_end(kGroup)) << read.status();
  }
  EXPECT_EQ(rig_.store().rewritable_end(kGroup), LogIndex());
  EXPECT_EQ(rig_.Await([&](auto done) { rig_.store().FinishRewrite(kReplica, 0, std::move(done)); })
                .code(),
            Code::kAborted);
  EXPECT_EQ(Rewrite(rig_, 0, EveryThird).code(), Code::kAborted);
}

// One sync of all of it would keep those of live records waiting.
TEST_F(CompactionTest, WhatIsMadeAnew_IsWrittenBackAsItGrows) {
  const auto append = [&](Entry entry) {
    return rig_.Await([&](auto done) {
      rig_.store().AppendRewritten(kReplica, {std::move(entry)}, std::move(done));
    });
  };
  ASSERT_TRUE(rig_.Await([&](auto done) {
                    rig_.store().BeginRewrite(kReplica, LogIndex(), std::move(done));
                  })
                  .ok());
  rig_.disk().FailNextSync("groups/");
  EntryMaker maker(kGroup);
  EXPECT_TRUE(append(maker.Batch(1, 1 << 20)).ok());
  EXPECT_FALSE(append(maker.Batch(1, 1 << 20)).ok());
  EXPECT_FALSE(append(maker.Batch(1, 1000)).ok()) << "nothing is tried after an error";
}

TEST_F(CompactionTest, ASegmentIsEnded_ForWhatIsToBeCompacted) {
  const size_t before = rig_.store().sealed_segments(kGroup).size();
  ASSERT_GT(rig_.store().active_segment_bytes(kGroup), 0U);
  rig_.store().WantSealed(kGroup, rig_.end_offset(kGroupNumber));
  rig_.Append(kGroupNumber, 1, 10);
  rig_.Settle();
  rig_.Commit(kGroupNumber);
  rig_.RunFor(std::chrono::milliseconds(200));
  EXPECT_GT(rig_.store().sealed_segments(kGroup).size(), before);
}

// state_covers_rewritten
TEST_F(CompactionTest, WhereTheStateIsLost_AStartSaysSo_AndAppliesNothing) {
  RewriteAll();
  rig_.Crash(true);
  // All states: they stand between the frames and the footer.
  for (const std::string& path : Files(rig_)) {
    const std::string content = *rig_.disk().Content(path);
    const size_t state = content.find("state of ");
    if (state != std::string::npos) rig_.disk().FlipBit(path, state, 1);
  }
  ASSERT_TRUE(rig_.Start().ok());
  EXPECT_FALSE(rig_.Recovered(kGroupNumber)->snapshot.has_value());
  EXPECT_EQ(rig_.Recovered(kGroupNumber)->rewritten_end, rewritten_end_);
}

// The same rewrite, ended at its first disk operation, its second, and so on: a start finds the
// segment as it was, or the one in which something is gone.
TEST(CompactionSweep, TheOneOrTheOther_IsThere_WhereverTheMachineDies) {
  size_t old_ones = 0;
  size_t new_ones = 0;
  bool has_crashed = true;
  for (uint64_t operation = 1; has_crashed; ++operation) {
    LogStoreRig rig(72);
    CompactionSteps::Prepare(rig);
    const std::vector<std::string> files = Files(rig);
    const LogIndex last = rig.store().sealed_segments(kGroup)[0].end.index;
    has_crashed = false;
    rig.disk().CrashAtOperation(operation, [&] {
      has_crashed = true;
      rig.Crash(false);
    });
    const Status rewritten = CompactionSteps::Rewrite(rig, 0, EveryThird);
    if (rig.is_alive()) {
      ASSERT_TRUE(rewritten.ok()) << rewritten;
      rig.RunFor(std::chrono::milliseconds(100));
    }
    rig.Crash(true);
    ASSERT_TRUE(rig.Start().ok()) << "operation=" << operation;
    rig.RunFor(std::chrono::milliseconds(100));
    ASSERT_EQ(Files(rig), files) << "operation=" << operation;
    if (rig.CompareSegments(kGroupNumber).empty()) {
      ++old_ones;
    } else {
      ++new_ones;
      ASSERT_EQ(CompactionSteps::Compare(
                    rig, [last](LogIndex index) { return index > last || EveryThird(index); }),
                "")
          << "operation=" << operation;
    }
    CompactionSteps::ExpectWholeLog(rig);
  }
  EXPECT_GT(old_ones, 5U);
  EXPECT_GT(new_ones, 1U);
}

}  // namespace
}  // namespace millrace::storage

#include "raft/host/append_admission.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/host/state_machine_property.h"
#include "tests/raft/net/entries.h"

namespace millrace::raft {
namespace {

constexpr RaftGroupId kGroup{7};

core::AppendRequest Append(const core::Log& log, Term term, LogIndex after, uint64_t count) {
  const uint32_t chain = after == LogIndex() ? 0 : log.At(after).chain;
  return {.term = term,
          .prev_index = after,
          .prev_term = log.TermAt(after).value_or(Term()),
          .commit_index = LogIndex(),
          .entries = net::MakeEntries(kGroup, term, after, count, chain)};
}

core::Log LogOfFour() {
  return core::Log({}, {}, {}, net::MakeEntries(kGroup, Term(1), LogIndex(), 4));
}

TEST(FollowsOn, EntriesOfThisChain_Do_AndOfAnother_DoNot) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(2), LogIndex(4), 2);
  EXPECT_TRUE(FollowsOn(log, append));
  append.entries.front().chain ^= 1;
  EXPECT_FALSE(FollowsOn(log, append));
}

TEST(FollowsOn, WhatCannotBeTold_IsTheCoresToDecide) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(2), LogIndex(4), 1);
  append.entries.front().chain ^= 1;
  append.prev_term = Term(3);  // this log has no such entry
  EXPECT_TRUE(FollowsOn(log, append));
  append.entries.clear();
  EXPECT_TRUE(FollowsOn(log, append));
}

TEST(KeepWhatMakesRoom, NewEntries_AreLeftOut_AndWhatIsCommittedIsKept) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(1), LogIndex(4), 2);
  append.commit_index = LogIndex(4);
  EXPECT_TRUE(KeepWhatMakesRoom(log, LogIndex(2), &append));
  EXPECT_TRUE(append.entries.empty());
  EXPECT_EQ(append.commit_index, LogIndex(4));
}

TEST(KeepWhatMakesRoom, WhereNothingIsNewlyCommitted_NothingIsLeft) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(1), LogIndex(4), 2);
  append.commit_index = LogIndex(4);
  EXPECT_FALSE(KeepWhatMakesRoom(log, LogIndex(4), &append));
}

TEST(KeepWhatMakesRoom, WhatReplacesEntries_IsTakenWhole) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(2), LogIndex(2), 3);
  EXPECT_TRUE(KeepWhatMakesRoom(log, LogIndex(2), &append));
  EXPECT_EQ(append.entries.size(), 3U);
}

TEST(KeepWhatMakesRoom, WhatControlsTheGroup_IsTaken_UpToTheFirstOfTheOthers) {
  const core::Log log = LogOfFour();
  EntrySequence sequence(kGroup);
  for (int i = 0; i < 4; ++i) sequence.Add({.type = FrameType::kRecordBatch}, "x");
  for (int i = 0; i < 2; ++i) {
    sequence.Add({.type = FrameType::kPartitionCommand, .flags = kFrameControl}, "x");
  }
  sequence.Add({.type = FrameType::kRecordBatch}, "x");
  sequence.Add({.type = FrameType::kNoOp, .flags = kFrameControl}, "");
  core::AppendRequest append = Append(log, Term(1), LogIndex(4), 0);
  append.entries = sequence.entries();
  append.entries.erase(append.entries.begin(), append.entries.begin() + 4);
  EXPECT_TRUE(KeepWhatMakesRoom(log, LogIndex(), &append));
  EXPECT_EQ(append.entries.size(), 2U);
}

// It was sent again: all of it is here, and it tells more to be committed.
TEST(KeepWhatMakesRoom, EntriesThatAreHere_StayInIt) {
  const core::Log log = LogOfFour();
  core::AppendRequest append = Append(log, Term(1), LogIndex(2), 4);
  append.commit_index = LogIndex(6);
  EXPECT_TRUE(KeepWhatMakesRoom(log, LogIndex(2), &append));
  EXPECT_EQ(append.entries.size(), 2U);
}

}  // namespace
}  // namespace millrace::raft

#include "raft/core/progress.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/net/entries.h"

namespace millrace::raft::core {
namespace {

constexpr RaftGroupId kGroup{7};
constexpr uint64_t kWindow = 1 << 20;
constexpr uint32_t kTimeoutTicks = 12;
using Step = Progress::Step;

std::vector<Entry> Entries(LogIndex after, uint64_t count) {
  return net::MakeEntries(kGroup, Term(1), after, count);
}

// Entries 4 to 9 in the tail, 1 to 3 in segments.
Log LogOfNine() {
  return Log({}, {.index = LogIndex(3), .term = Term(1)},
             {{.term = Term(1), .first_index = LogIndex(1)}}, Entries(LogIndex(3), 6));
}

class ProgressTest : public testing::Test {
 protected:
  void Send(uint64_t first, uint64_t last, uint64_t round = 1) {
    progress_.OnSend(Entries(LogIndex(first - 1), last - first + 1), first <= 3, round);
  }
  AppendReply Refusal(uint64_t at, uint64_t hint) {
    return {.term = Term(1),
            .success = false,
            .index = LogIndex(at),
            .hint_index = LogIndex(hint),
            .hint_term = Term(1)};
  }
  // As of a follower that is known to hold the entries up to there.
  void Replicate(uint64_t match) {
    progress_.OnSend({}, false, 1);
    progress_.Acknowledge(LogIndex(match), log_);
  }
  // What was sent is held to be lost.
  void ExpectSentAgainFrom(uint64_t first) {
    EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
    EXPECT_EQ(progress_.next(), LogIndex(first));
  }

  Log log_ = LogOfNine();
  Progress progress_{LogIndex(10)};
};

TEST_F(ProgressTest, ANewFollower_IsAskedOnce_AndThenWaitedFor) {
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
  progress_.OnSend({}, false, 1);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait);
}

TEST_F(ProgressTest, AnAnswer_EndsTheProbe_AndEntriesAreSentAhead) {
  Replicate(5);
  EXPECT_EQ(progress_.next(), LogIndex(6));
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
  Send(6, 7);
  EXPECT_EQ(progress_.next(), LogIndex(8));
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend) << "nothing of it is answered yet";
  Send(8, 9);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait) << "all is sent";
}

TEST_F(ProgressTest, AFullWindow_WaitsForAnAnswer) {
  Replicate(5);
  Send(6, 7);
  EXPECT_EQ(progress_.NextStep(log_, 1), Step::kWait);
  progress_.Acknowledge(LogIndex(7), log_);
  EXPECT_EQ(progress_.NextStep(log_, 1), Step::kSend) << "one append always passes";
}

TEST_F(ProgressTest, WhatLiesBelowTheTail_IsReadOnce_AndTheTailDoesNotOvertakeIt) {
  Replicate(1);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kRead);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait);
  EXPECT_TRUE(progress_.OnRead(LogIndex(2), log_));
  Send(2, 3);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait) << "it goes by a slower way";
  progress_.Acknowledge(LogIndex(3), log_);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
}

TEST_F(ProgressTest, WhatWasRead_IsNotSent_IfSomethingElseIsWantedByThen) {
  Replicate(1);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kRead);
  progress_.Acknowledge(LogIndex(5), log_);
  EXPECT_FALSE(progress_.OnRead(LogIndex(2), log_));
}

TEST_F(ProgressTest, ARefusal_MovesTheProbeToWhereTheLogsMayAgree) {
  progress_.OnSend({}, false, 1);
  const Progress::Refused refused = progress_.OnRefused(Refusal(9, 5), log_);
  EXPECT_TRUE(refused.wants_entries);
  EXPECT_EQ(progress_.next(), LogIndex(6));
}

TEST_F(ProgressTest, ARefusalOfAnythingButTheProbe_OrOfWhatItHas_IsStale) {
  progress_.OnSend({}, false, 1);
  EXPECT_FALSE(progress_.OnRefused(Refusal(8, 5), log_).wants_entries);
  progress_.Acknowledge(LogIndex(7), log_);
  EXPECT_FALSE(progress_.OnRefused(Refusal(7, 5), log_).wants_entries);
  EXPECT_EQ(progress_.next(), LogIndex(8));
}

TEST_F(ProgressTest, AFollowerThatNeedsWhatIsGone_IsToldOfOnce_AndAskedOn) {
  log_.MoveBeginTo({.index = LogIndex(2), .term = Term(1)});
  Progress fresh(LogIndex(3));
  fresh.OnSend({}, false, 1);
  const Progress::Refused refused = fresh.OnRefused(Refusal(2, 0), log_);
  EXPECT_TRUE(refused.is_newly_behind);
  EXPECT_EQ(refused.needed, LogIndex(1));
  EXPECT_FALSE(refused.wants_entries);
  fresh.OnHeartbeatReply(2, log_);
  EXPECT_EQ(fresh.NextStep(log_, kWindow), Step::kAsk);
  fresh.OnSend({}, false, 2);
  EXPECT_FALSE(fresh.OnRefused(Refusal(2, 0), log_).is_newly_behind);
  // Restored by other means, it agrees.
  fresh.Acknowledge(LogIndex(2), log_);
  EXPECT_EQ(fresh.NextStep(log_, kWindow), Step::kRead);
}

TEST_F(ProgressTest, AWindowThatIsNeverAnswered_IsProbed_EachTimeLater) {
  Replicate(5);
  for (const uint32_t patience : {kTimeoutTicks, 2 * kTimeoutTicks}) {
    Send(6, 9);
    for (uint32_t tick = 1; tick < patience; ++tick) progress_.TickWindow(kTimeoutTicks, log_);
    EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait);
    progress_.TickWindow(kTimeoutTicks, log_);
    ExpectSentAgainFrom(6);
  }
}

// Nobody was there to take the entries: the heartbeats before them went unanswered.
TEST_F(ProgressTest, AnAnswerThatPassesOverTheHeartbeatBeforeTheEntries_ShowsThemLost) {
  Replicate(5);
  progress_.OnHeartbeatReply(3, log_);
  Send(6, 9, 5);
  progress_.OnHeartbeatReply(6, log_);
  ExpectSentAgainFrom(6);
}

TEST_F(ProgressTest, OnASlowWay_WhereEachHeartbeatIsAnswered_NothingIsSentTwice) {
  Replicate(5);
  progress_.OnHeartbeatReply(4, log_);
  Send(6, 9, 5);
  for (const uint64_t round : {5, 6, 7}) progress_.OnHeartbeatReply(round, log_);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kWait);
  EXPECT_EQ(progress_.answered_round(), 7U);
}

TEST_F(ProgressTest, OneThatReturned_IsProbedAtOnce_WithoutOldPatience) {
  Replicate(5);
  Send(6, 9);
  progress_.OnReturned(log_);
  ExpectSentAgainFrom(6);
  progress_.CheckInvariants(log_.last_index());
}

// rewritten_is_not_sent: what compaction left of an entry is no entry of a log.
TEST_F(ProgressTest, WhoLacksWhatWasRewritten_IsAskedBehindIt_AndIsBehindIfItHasNotThat) {
  progress_.OnSend({}, false, 1);
  const Progress::Refused first = progress_.OnRefused(Refusal(9, 1), log_);
  EXPECT_TRUE(first.wants_entries);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kRead);
  // Entry 2 was read and is a gap up to 3.
  log_.NoteRewritten(LogIndex(3));
  EXPECT_FALSE(progress_.OnRead(LogIndex(2), log_));
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
  EXPECT_EQ(progress_.next(), LogIndex(4));
  progress_.OnSend({}, false, 2);
  const Progress::Refused second = progress_.OnRefused(Refusal(3, 1), log_);
  EXPECT_TRUE(second.is_behind);
  EXPECT_TRUE(second.is_newly_behind);
  EXPECT_FALSE(second.wants_entries);
  // Once it was restored it has what lies below.
  progress_.OnHeartbeatReply(2, log_);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kAsk);
  progress_.OnSend({}, false, 3);
  progress_.Acknowledge(LogIndex(3), log_);
  EXPECT_EQ(progress_.NextStep(log_, kWindow), Step::kSend);
  EXPECT_EQ(progress_.next(), LogIndex(4));
}

}  // namespace
}  // namespace millrace::raft::core

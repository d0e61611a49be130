// What looks at a partition's reader tell together.
#include "broker/coordinator/lag_history.h"

#include <optional>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

class LagHistoryTest : public testing::Test {
 protected:
  struct Seen {
    std::optional<int64_t> committed;
    int64_t end = 0;
    int64_t waited_ms_min = 0;
    int64_t waited_ms_max = 0;
    int64_t commit_age_ms = 0;
    int64_t start = 0;
  };

  LagLook Add(int64_t at_ms, const Seen& seen) {
    LagSample sample{.at_ms = at_ms, .commit_age_ms = seen.commit_age_ms};
    if (seen.committed.has_value()) sample.committed = Offset(*seen.committed);
    sample.unread = {.log_start = Offset(seen.start),
                     .high_watermark = Offset(seen.end),
                     .waited_ms_min = seen.waited_ms_min,
                     .waited_ms_max = seen.waited_ms_max};
    history_.Add(sample);
    return history_.Look();
  }

  LagHistory history_;
};

TEST_F(LagHistoryTest, OneLook_TellsTheDistance_AndNoRates) {
  EXPECT_TRUE(history_.is_empty());
  const LagLook look =
      Add(1'000,
          {.committed = 4, .end = 10, .waited_ms_min = 3, .waited_ms_max = 9, .commit_age_ms = 70});
  EXPECT_TRUE(look.is_committed);
  EXPECT_EQ(look.lag, 6);
  EXPECT_EQ(look.lost, 0);
  EXPECT_EQ(look.waited_ms_min, 3);
  EXPECT_EQ(look.waited_ms_max, 9);
  EXPECT_EQ(look.unmoved_ms, 70) << "it has been there since that commit at least";
  EXPECT_EQ(look.measured_ms, 0);
  EXPECT_EQ(look.came_in, 0);
}

// Rule 34: "describe shows the records lost".
TEST_F(LagHistoryTest, Rule34_WhatWentBeforeItWasRead_IsLost_AndNoLag) {
  const LagLook look = Add(1'000, {.committed = 4, .end = 10, .start = 7});
  EXPECT_EQ(look.lag, 3);
  EXPECT_EQ(look.lost, 3);
  EXPECT_EQ(Add(2'000, {.committed = 8, .end = 10, .start = 7}).lost, 0);
}

TEST_F(LagHistoryTest, NothingCommitted_IsNoOffset_AndAllRecordsAreThere) {
  const LagLook look = Add(1'000, {.end = 10, .start = 2});
  EXPECT_FALSE(look.is_committed);
  EXPECT_EQ(look.lag, 8);
  EXPECT_EQ(look.waited_ms_max, 0);
  EXPECT_EQ(Add(6'000, {.end = 15, .start = 2}).came_in, 5);
  const LagLook began = Add(11'000, {.committed = 14, .end = 15, .start = 2});
  EXPECT_TRUE(began.is_committed);
  EXPECT_EQ(began.measured_ms, 0) << "where it began is not known";
  EXPECT_EQ(began.read, 0);
}

TEST_F(LagHistoryTest, RatesAreOfHalfAMinute_UpToAWhole) {
  int64_t at_ms = 0;
  for (int i = 0; i <= 40; ++i, at_ms += 5'000) {
    const LagLook look = Add(at_ms, {.committed = i * 50, .end = 1'000 + i * 100});
    const int64_t seconds = look.measured_ms / 1000;
    EXPECT_EQ(look.came_in, seconds * 20) << i;
    EXPECT_EQ(look.read, seconds * 10) << i;
    EXPECT_EQ(seconds, at_ms < 30'000 ? at_ms / 1000 : std::clamp<int64_t>(seconds, 30, 60)) << i;
  }
}

TEST_F(LagHistoryTest, WhatStandsStill_IsCountedFromItsLastMove) {
  Add(0, {.committed = 1, .end = 10});
  // Between the looks, by a commit of two seconds ago.
  EXPECT_EQ(Add(5'000, {.committed = 2, .end = 10, .commit_age_ms = 2'000}).unmoved_ms, 2'000);
  // The same offset is committed again and again.
  EXPECT_EQ(Add(10'000, {.committed = 2, .end = 10, .commit_age_ms = 1'000}).unmoved_ms, 7'000);
  EXPECT_EQ(Add(15'000, {.committed = 2, .end = 10}).unmoved_ms, 12'000);
}

// A commit's time is of another broker's clock.
TEST_F(LagHistoryTest, AMove_IsNotBeforeTheLookThatDidNotSeeIt) {
  Add(0, {.committed = 1, .end = 10});
  EXPECT_EQ(Add(5'000, {.committed = 2, .end = 10, .commit_age_ms = 60'000}).unmoved_ms, 5'000);
}

TEST_F(LagHistoryTest, AReset_BeginsAnew) {
  Add(0, {.committed = 5, .end = 10});
  Add(5'000, {.committed = 8, .end = 20});
  const LagLook look = Add(10'000, {.committed = 2, .end = 30, .commit_age_ms = 1'000});
  EXPECT_EQ(look.lag, 28);
  EXPECT_EQ(look.measured_ms, 0);
  EXPECT_EQ(look.read, 0);
  EXPECT_EQ(look.unmoved_ms, 1'000);
}

// A majority lost its disks.
TEST_F(LagHistoryTest, ALogThatBecameShorter_BeginsAnew) {
  Add(0, {.committed = 5, .end = 10});
  const LagLook look = Add(5'000, {.committed = 5, .end = 7});
  EXPECT_EQ(look.measured_ms, 0);
  EXPECT_EQ(look.came_in, 0);
  EXPECT_EQ(look.lag, 2);
}

TEST_F(LagHistoryTest, AnOffsetPastTheEnd_IsAtTheEnd) {
  const LagLook look = Add(0, {.committed = 12, .end = 10});
  EXPECT_EQ(look.lag, 0);
  EXPECT_EQ(look.waited_ms_max, 0);
}

// Index points may be hours apart where little comes in.
TEST_F(LagHistoryTest, WhenARecordCame_IsKnownFromLooks_WhereItsBoundsAreFar) {
  const int64_t day = 24 * 3'600'000;
  Add(0, {.committed = 10, .end = 10});
  // It came after the first look, whatever the point before it says.
  LagLook look = Add(5'000, {.committed = 10, .end = 11, .waited_ms_max = day});
  EXPECT_EQ(look.waited_ms_min, 0);
  EXPECT_EQ(look.waited_ms_max, 5'000);
  // And before the second.
  look = Add(10'000, {.committed = 10, .end = 11, .waited_ms_max = day});
  EXPECT_EQ(look.waited_ms_min, 5'000);
  EXPECT_EQ(look.waited_ms_max, 10'000);
  look = Add(100'000, {.committed = 10, .end = 12, .waited_ms_max = day});
  EXPECT_EQ(look.waited_ms_min, 95'000);
  EXPECT_EQ(look.waited_ms_max, 100'000);
  // The next record is another one: it was there at the look before, and not at the first. Those
  // between are not kept.
  look = Add(105'000, {.committed = 11, .end = 12, .waited_ms_max = day});
  EXPECT_EQ(look.waited_ms_min, 5'000);
  EXPECT_EQ(look.waited_ms_max, 105'000);
}

TEST_F(LagHistoryTest, WhatTheLeaderKnowsCloser_Counts) {
  Add(0, {.committed = 10, .end = 10});
  const LagLook look =
      Add(60'000, {.committed = 10, .end = 11, .waited_ms_min = 7'000, .waited_ms_max = 7'000});
  EXPECT_EQ(look.waited_ms_min, 7'000);
  EXPECT_EQ(look.waited_ms_max, 7'000);
}

TEST_F(LagHistoryTest, ACommit_TookAsLongAsThereWasSomethingToRead) {
  Add(0, {.committed = 1, .end = 1, .commit_age_ms = 3'600'000});
  Add(5'000, {.committed = 1, .end = 2, .commit_age_ms = 3'605'000});
  Add(40'000, {.committed = 1, .end = 2, .commit_age_ms = 3'640'000});
  EXPECT_EQ(Add(45'000, {.committed = 2, .end = 9, .commit_age_ms = 0}).commit_took_ms, 40'000)
      << "not the hour in which there was nothing";
  EXPECT_EQ(Add(50'000, {.committed = 9, .end = 9, .commit_age_ms = 0}).commit_took_ms, 5'000);
  EXPECT_EQ(Add(99'000, {.committed = 10, .end = 10}).commit_took_ms, 0);
}

TEST_F(LagHistoryTest, ALookThatIsOvertaken_SaysNothing) {
  Add(10'000, {.committed = 8, .end = 10});
  const LagLook look = Add(5'000, {.committed = 4, .end = 6});
  EXPECT_EQ(look.lag, 2);
  EXPECT_EQ(look.measured_ms, 0);
  EXPECT_EQ(Add(15'000, {.committed = 9, .end = 10}).read, 1) << "it was no reset";
}

}  // namespace
}  // namespace millrace::broker

// What is thought of a group's readers, and in which words. The thresholds are those of
// proto/millrace/v1/group_service.proto.
#include "broker/coordinator/lag_verdict.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr int64_t kSecond = 1'000;

// A member that reads as fast as records come, 100/s, and is at the end.
LagRow AtEnd() {
  return {
      .partition = PartitionId(3),
      .look =
          LagLook{
              .is_committed = true, .measured_ms = 40 * kSecond, .came_in = 4'000, .read = 4'000},
      .reader = {.member_id = "m-1", .has_group_members = true, .is_subscribed = true}};
}

// ... and is a thousand records behind, the oldest of them so old.
LagRow Behind(int64_t waited_ms) {
  LagRow row = AtEnd();
  row.look->lag = 1'000;
  row.look->waited_ms_min = row.look->waited_ms_max = waited_ms;
  row.look->unmoved_ms = kSecond;
  return row;
}

LagRow Rated(LagRow row, int64_t came_in, int64_t read) {
  row.look->came_in = came_in;
  row.look->read = read;
  return row;
}

LagRow Unmoved(LagRow row, int64_t unmoved_ms) {
  row.look->unmoved_ms = unmoved_ms;
  row.look->read = 0;
  return row;
}

LagRow Uncommitted(int64_t records) {
  LagRow row = AtEnd();
  row.look->is_committed = false;
  row.look->lag = records;
  row.look->read = 0;
  return row;
}

LagRow Unowned(LagRow row) {
  row.reader.member_id = "";
  return row;
}

LagRow Judged(LagRow row) {
  std::vector<LagRow> topic{std::move(row)};
  JudgeTopic(&topic);
  return topic[0];
}

LagVerdict VerdictOf(LagRow row) { return Judged(std::move(row)).verdict; }
std::string WordsOf(LagRow row) { return GroundsOf(Judged(std::move(row))); }

TEST(LagVerdict, AtTheEnd_ItKeepsUp_WhoeverReads) {
  EXPECT_EQ(VerdictOf(AtEnd()), LagVerdict::kKeepingUp);
  EXPECT_EQ(WordsOf(AtEnd()), "");
  EXPECT_EQ(VerdictOf(Unowned(AtEnd())), LagVerdict::kKeepingUp);
  EXPECT_EQ(VerdictOf(Unmoved(AtEnd(), 3'600 * kSecond)), LagVerdict::kKeepingUp);
  EXPECT_EQ(VerdictOf(Uncommitted(0)), LagVerdict::kKeepingUp);
}

TEST(LagVerdict, ALittleBehind_ItKeepsUp) {
  EXPECT_EQ(VerdictOf(Behind(10 * kSecond)), LagVerdict::kKeepingUp);
  EXPECT_EQ(WordsOf(Behind(10 * kSecond)), "1,000 records behind, oldest 10 s");
  EXPECT_NE(VerdictOf(Behind(10 * kSecond + 1)), LagVerdict::kKeepingUp);
}

TEST(LagVerdict, ALittleBehind_AndFallingBack_ItIsSlow) {
  EXPECT_EQ(VerdictOf(Rated(Behind(6 * kSecond), 1'000, 799)), LagVerdict::kSlow);
  EXPECT_EQ(VerdictOf(Rated(Behind(6 * kSecond), 1'000, 800)), LagVerdict::kKeepingUp);
  EXPECT_EQ(VerdictOf(Rated(Behind(5 * kSecond), 1'000, 799)), LagVerdict::kKeepingUp);
  LagRow briefly = Rated(Behind(6 * kSecond), 1'000, 799);
  briefly.look->measured_ms = 29 * kSecond;
  EXPECT_EQ(VerdictOf(briefly), LagVerdict::kKeepingUp) << "a burst";
}

// What the disk would tell is not known: a wrong alarm wakes somebody.
TEST(LagVerdict, WhereTheOldestMayBeYoung_ItKeepsUp) {
  LagRow row = Behind(0);
  row.look->waited_ms_max = 3'600 * kSecond;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kKeepingUp);
  EXPECT_EQ(WordsOf(row), "1,000 records behind, oldest 0 s to 60 min");
}

TEST(LagVerdict, WhoReadsNoMoreThanComesIn_IsSlow) {
  const LagRow row = Rated(Behind(41 * kSecond), 12'000, 4'800);
  EXPECT_EQ(VerdictOf(row), LagVerdict::kSlow);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 41 s; member m-1 commits 120/s, 300/s come in (measured "
            "for 40 s)");
  EXPECT_EQ(VerdictOf(Rated(Behind(41 * kSecond), 10'000, 10'499)), LagVerdict::kSlow);
}

TEST(LagVerdict, WhoComesNearerToTheEnd_CatchesUp) {
  EXPECT_EQ(VerdictOf(Rated(Behind(41 * kSecond), 10'000, 10'500)), LagVerdict::kCatchingUp);
  EXPECT_EQ(VerdictOf(Rated(Behind(41 * kSecond), 0, 1)), LagVerdict::kCatchingUp);
  EXPECT_EQ(VerdictOf(Rated(Behind(41 * kSecond), 0, 0)), LagVerdict::kSlow);
  LagRow far = Rated(Behind(3 * 3'600 * kSecond), 4'000, 8'000);
  far.look->lag = 1'234'500;
  EXPECT_EQ(WordsOf(far),
            "1,234,500 records behind, oldest 3 h; member m-1 commits 200/s, 100/s come in "
            "(measured for 40 s): at the end in about 3 h");
}

TEST(LagVerdict, BehindAndHardlyMeasured_IsNotKnown) {
  LagRow row = Behind(41 * kSecond);
  row.look->measured_ms = 9'999;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 41 s; whether it comes nearer is not known yet (measured "
            "for 10 s)");
  row.look->measured_ms = 10'000;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kSlow);
}

TEST(LagVerdict, AnOwnerThatLives_AndCommitsNothing_IsStuck) {
  const LagRow row = Unmoved(Behind(45 * kSecond), 44 * kSecond);
  EXPECT_EQ(VerdictOf(row), LagVerdict::kStuck);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 45 s; member m-1 lives, and for 44 s has committed "
            "nothing that is new");
  EXPECT_EQ(VerdictOf(Unmoved(Behind(45 * kSecond), 30 * kSecond)), LagVerdict::kStuck);
  EXPECT_NE(VerdictOf(Unmoved(Behind(45 * kSecond), 30 * kSecond - 1)), LagVerdict::kStuck);
  // Nothing came for an hour, and then a record.
  EXPECT_NE(VerdictOf(Unmoved(Behind(30 * kSecond - 1), 3'600 * kSecond)), LagVerdict::kStuck);
  EXPECT_EQ(VerdictOf(Unmoved(Behind(30 * kSecond), 3'600 * kSecond)), LagVerdict::kStuck);
}

TEST(LagVerdict, AStuckOne_NeedsNoRates) {
  LagRow row = Unmoved(Behind(45 * kSecond), 44 * kSecond);
  row.look->measured_ms = 0;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kStuck) << "by a leader that is new";
}

TEST(LagVerdict, WhoseCommitsTakeLong_IsStuckLater_ButNotMuch) {
  LagRow row = Unmoved(Behind(3'600 * kSecond), 119 * kSecond);
  row.look->commit_took_ms = 40 * kSecond;
  EXPECT_NE(VerdictOf(row), LagVerdict::kStuck);
  EXPECT_EQ(VerdictOf(Unmoved(row, 120 * kSecond)), LagVerdict::kStuck);
  row.look->commit_took_ms = 3'600 * kSecond;
  EXPECT_NE(VerdictOf(Unmoved(row, 299 * kSecond)), LagVerdict::kStuck);
  EXPECT_EQ(VerdictOf(Unmoved(row, 300 * kSecond)), LagVerdict::kStuck);
}

TEST(LagVerdict, WhereNothingWasEverCommitted_ItIsNotKnown_UntilRecordsComeInVain) {
  LagRow row = Uncommitted(7);
  row.look->came_in = 0;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown) << "it may have begun at the end";
  EXPECT_EQ(WordsOf(row),
            "nothing is committed, and 7 records in it; how far it is read is not known");
  row.look->came_in = 1;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kStuck);
  EXPECT_EQ(WordsOf(row),
            "nothing is committed, and 7 records in it; member m-1 lives, and has committed "
            "nothing while 1 record came in within 40 s");
  row.look->measured_ms = 29 * kSecond;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown);
  row.reader = {};
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown) << "somebody reads other partitions alone";
}

TEST(LagVerdict, APartitionThatNobodyHas_IsDead) {
  LagRow row = Unowned(Behind(kSecond));
  row.look->commit_age_ms = 7'200 * kSecond;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kDead);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 1 s; nobody has it, and the last commit was 2 h ago");
  row.reader.is_subscribed = false;
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 1 s; no member reads this topic, and the last commit was "
            "2 h ago");
  EXPECT_EQ(VerdictOf(Unowned(Uncommitted(1))), LagVerdict::kDead);
  EXPECT_EQ(WordsOf(Unowned(Uncommitted(1))),
            "nothing is committed, and 1 record in it; nobody has it");
}

TEST(LagVerdict, AMemberThatIsAway_ReadsNothing) {
  LagRow row = Behind(kSecond);
  row.reader.is_away = true;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kDead);
  EXPECT_EQ(WordsOf(row), "1,000 records behind, oldest 1 s; member m-1 is away, and will be back");
}

TEST(LagVerdict, WhilePartitionsChangeHands_NobodyIsDead) {
  LagRow row = Unowned(Behind(kSecond));
  row.reader.changes_hands = true;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown);
  EXPECT_EQ(WordsOf(row), "1,000 records behind, oldest 1 s; it is between two owners");
  LagRow uncommitted = Unowned(Uncommitted(1));
  uncommitted.reader.changes_hands = true;
  EXPECT_EQ(VerdictOf(uncommitted), LagVerdict::kUnknown);
}

TEST(LagVerdict, AGroupWithoutMembers_IsDead_UnlessSomebodyCommits) {
  LagRow row = Behind(41 * kSecond);
  row.reader = {};
  row.look->commit_age_ms = 30 * kSecond;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kDead);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 41 s; the group has no members, and the last commit was "
            "30 s ago");
  row.look->commit_age_ms = 30 * kSecond - 1;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kSlow);
  EXPECT_EQ(WordsOf(row),
            "1,000 records behind, oldest 41 s; a reader without membership commits 100/s, 100/s "
            "come in (measured for 40 s)");
}

// Rule 34: "describe shows the records lost".
TEST(LagVerdict, Rule34_RecordsThatWereLost_AreTold_AlsoAtTheEnd) {
  LagRow row = AtEnd();
  row.look->lost = 12'345;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kKeepingUp);
  EXPECT_EQ(WordsOf(row), "12,345 records went before the group read them");
  LagRow behind = Behind(kSecond);
  behind.look->lost = 1;
  EXPECT_EQ(WordsOf(behind),
            "1,000 records behind, oldest 1 s; 1 record went before the group read them");
}

TEST(LagVerdict, APartitionWithoutALeader_IsNotKnown) {
  LagRow row = AtEnd();
  row.look.reset();
  const Status why = Unavailable("nobody leads it");
  row.why_unknown = &why;
  EXPECT_EQ(VerdictOf(row), LagVerdict::kUnknown);
  EXPECT_EQ(WordsOf(row), "its leader did not answer: nobody leads it");
}

// A topic with as many partitions that keep up, and these.
std::vector<LagRow> Topic(size_t keeping_up, std::vector<LagRow> others) {
  std::vector<LagRow> topic = std::move(others);
  for (size_t i = 0; i < keeping_up; ++i) topic.push_back(AtEnd());
  JudgeTopic(&topic);
  return topic;
}

LagRow Hot(int64_t came_in = 16'000) { return Rated(Behind(41 * kSecond), came_in, 8'000); }

TEST(LagVerdict, OnePartitionThatGetsFarMoreThanTheOthers_HasAHotKey) {
  EXPECT_EQ(Topic(3, {Hot()})[0].verdict, LagVerdict::kHotKey);
  EXPECT_EQ(GroundsOf(Topic(3, {Hot()})[0]),
            "1,000 records behind, oldest 41 s; far more comes in than into the others of its "
            "topic, which keep up: member m-1 commits 200/s, 400/s come in (measured for 40 s)");
  EXPECT_EQ(Topic(3, {Hot(15'999)})[0].verdict, LagVerdict::kSlow) << "not four times as much";
  EXPECT_EQ(Topic(0, {Hot()})[0].verdict, LagVerdict::kSlow) << "it has no peers";
}

TEST(LagVerdict, WhereMoreThanFewAreSlow_ItIsNoHotKey) {
  EXPECT_EQ(Topic(17, {Hot(), Hot()})[0].verdict, LagVerdict::kSlow);
  EXPECT_EQ(Topic(18, {Hot(), Hot()})[0].verdict, LagVerdict::kHotKey) << "a tenth";
  EXPECT_EQ(Topic(3, {Hot(), Unmoved(Behind(60 * kSecond), 60 * kSecond)})[0].verdict,
            LagVerdict::kSlow);
}

TEST(LagVerdict, WhereTheOthersGetNothing_AnythingIsFarMore) {
  const std::vector<LagRow> topic = [] {
    std::vector<LagRow> rows{Rated(Behind(41 * kSecond), 2, 1)};
    for (int i = 0; i < 3; ++i) rows.push_back(Rated(AtEnd(), 0, 0));
    JudgeTopic(&rows);
    return rows;
  }();
  EXPECT_EQ(topic[0].verdict, LagVerdict::kHotKey);
  EXPECT_NE(GroundsOf(topic[0]).find("commits 0.0/s, 0.1/s come in"), std::string::npos)
      << GroundsOf(topic[0]);
}

v1::GroupLag TotalOf(std::vector<LagRow> rows) {
  JudgeTopic(&rows);
  LagTotal total;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].partition = PartitionId(static_cast<uint32_t>(i));
    total.Add("orders", rows[i]);
  }
  return total.Take();
}

TEST(LagVerdict, AGroup_IsAsItsWorstPartition) {
  const LagRow keeps_up = AtEnd();
  LagRow not_known = Uncommitted(1);
  not_known.look->came_in = 0;
  const LagRow catches_up = Rated(Behind(41 * kSecond), 0, 1);
  const LagRow slow = Rated(Behind(41 * kSecond), 1, 1);
  const LagRow stuck = Unmoved(Behind(41 * kSecond), 41 * kSecond);
  const LagRow dead = Unowned(Behind(41 * kSecond));
  const std::vector<std::pair<LagRow, v1::LagVerdict>> in_order{
      {keeps_up, v1::LAG_VERDICT_KEEPING_UP},
      {not_known, v1::LAG_VERDICT_UNSPECIFIED},
      {catches_up, v1::LAG_VERDICT_CATCHING_UP},
      {slow, v1::LAG_VERDICT_SLOW},
      {stuck, v1::LAG_VERDICT_STUCK},
      {dead, v1::LAG_VERDICT_DEAD}};
  std::vector<LagRow> rows;
  for (const auto& [row, verdict] : in_order) {
    rows.insert(rows.begin(), row);
    EXPECT_EQ(TotalOf(rows).verdict(), verdict);
    std::vector<LagRow> reversed(rows.rbegin(), rows.rend());
    EXPECT_EQ(TotalOf(reversed).verdict(), verdict);
  }
  EXPECT_EQ(TotalOf({Hot(), AtEnd(), AtEnd()}).verdict(), v1::LAG_VERDICT_HOT_KEY);
}

TEST(LagVerdict, AGroup_TellsOfItsWorstPartition_AndHowManyAreAsBad) {
  LagRow worse = Unmoved(Behind(50 * kSecond), 41 * kSecond);
  worse.look->lag = 2'000;
  const LagRow stuck = Unmoved(Behind(41 * kSecond), 41 * kSecond);
  const v1::GroupLag total = TotalOf({stuck, worse, stuck, AtEnd()});
  EXPECT_EQ(total.grounds(),
            "partition 1 of orders: 2,000 records behind, oldest 50 s; member m-1 lives, and for "
            "41 s has committed nothing that is new; 2 more of its 4 partitions: stuck");
  EXPECT_EQ(TotalOf({worse}).grounds(),
            "partition 0 of orders: 2,000 records behind, oldest 50 s; member m-1 lives, and for "
            "41 s has committed nothing that is new");
}

TEST(LagVerdict, AGroup_HasSums_AndCountsWhatIsNotKnown) {
  LagRow far = Behind(2 * kSecond);
  far.look->waited_ms_max = 5 * kSecond;
  far.look->lost = 3;
  LagRow near = Behind(4 * kSecond);
  near.look->lost = 4;
  LagRow away = AtEnd();
  away.look.reset();
  const v1::GroupLag total = TotalOf({far, near, away, Uncommitted(9), Uncommitted(0)});
  EXPECT_EQ(total.lag(), 2'000);
  EXPECT_EQ(total.lost(), 7);
  EXPECT_EQ(total.lag_ms_min(), 4 * kSecond);
  EXPECT_EQ(total.lag_ms_max(), 5 * kSecond);
  EXPECT_EQ(total.partition_count(), 5U);
  EXPECT_EQ(total.unknown_count(), 2U);
}

TEST(LagVerdict, AGroupThatIsWell_SaysSo) {
  EXPECT_EQ(TotalOf({}).verdict(), v1::LAG_VERDICT_KEEPING_UP);
  EXPECT_EQ(TotalOf({}).grounds(), "it reads nothing");
  EXPECT_EQ(TotalOf({AtEnd(), AtEnd()}).grounds(), "nothing is left to read in its 2 partitions");
  EXPECT_EQ(TotalOf({AtEnd(), Behind(kSecond)}).grounds(), "all of its 2 partitions keep up");
}

}  // namespace
}  // namespace millrace::broker

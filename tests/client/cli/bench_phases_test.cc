// What a benchmark of several phases comes to.
#include "client/cli/bench_phases.h"

#include <chrono>

#include <gtest/gtest.h>

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;

BenchPhase Plain() {
  return {.name = "plain", .records = 600, .records_per_second = {200, 400, 100}};
}

BenchPhase Overlapped() {
  BenchPhase phase{.name = "overlapped",
                   .records = 600,
                   .transactions = 6,
                   .records_per_second = {180, 320, 95}};
  for (int i = 0; i < 100; ++i) phase.commits.Record(milliseconds(4));
  return phase;
}

TEST(BenchPhases, TheMedian_IsTheMiddleOne_OrBetweenTheMiddleTwo) {
  EXPECT_EQ(MedianOf({3, 1, 2}), 2);
  EXPECT_EQ(MedianOf({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(MedianOf({7}), 7);
}

TEST(BenchPhases, ARatio_IsOfPhasesOfTheSameRound) {
  EXPECT_DOUBLE_EQ(RatioOf(Overlapped(), Plain()), 0.9) << "of 0.9, 0.8 and 0.95";
  EXPECT_DOUBLE_EQ(RatioOf(Plain(), Plain()), 1);
}

TEST(BenchPhases, AreATable_WithCommits_WhereThereAreSome) {
  const BenchPhase plain = Plain();
  const BenchPhase overlapped = Overlapped();
  EXPECT_EQ(PhasesToText({&plain, &overlapped}),
            "PHASE       RECORDS/S  MIN  MAX  TO plain  COMMITS  P50 MS  P99 MS\n"
            "plain             200  100  400     1.000        -       -       -\n"
            "overlapped        180   95  320     0.900      100    4.00    4.00\n");
  EXPECT_EQ(PhasesToText({&plain}),
            "PHASE  RECORDS/S  MIN  MAX  TO plain\n"
            "plain        200  100  400     1.000\n");
}

TEST(BenchPhases, AsJson) {
  const BenchPhase plain = Plain();
  const BenchPhase overlapped = Overlapped();
  const Json json = PhasesToJson({&plain, &overlapped});
  EXPECT_EQ(json[0].dump(),
            R"({"phase":"plain","records":600,"transactions":0,"records_per_second":200.0,)"
            R"("records_per_second_min":100.0,"records_per_second_max":400.0,"ratio":1.0,)"
            R"("commit_ms":null})");
  EXPECT_EQ(json[1]["commit_ms"].dump(), R"({"p50":4.0,"p99":4.0})");
  EXPECT_EQ(json[1]["transactions"], 6);
}

TEST(Histogram, OfTwo_HasTheSamplesOfBoth) {
  Histogram one;
  one.Record(milliseconds(1), 3);
  Histogram other;
  other.Record(milliseconds(100));
  one.Add(other);
  EXPECT_EQ(one.count(), 4u);
  EXPECT_EQ(one.max(), milliseconds(100));
  EXPECT_LT(one.Quantile(0.75), milliseconds(2));
}

}  // namespace
}  // namespace millrace::client::cli

#include "raft/net/complaints.h"

#include <string>

#include <gtest/gtest.h>

namespace millrace::raft::net {
namespace {

using std::chrono::seconds;

class HandClock final : public Clock {
 public:
  MonotonicTime Now() const override { return now; }
  int64_t WallMs() const override { return 0; }
  MonotonicTime now{0};
};

class ComplaintsTest : public ::testing::Test {
 protected:
  HandClock clock_;
  Complaints complaints_{clock_};
};

TEST_F(ComplaintsTest, TheFirstOfASource_IsTold_AndTheOthersOfItsMinuteAreCounted) {
  EXPECT_TRUE(complaints_.Note("a", "garbage"));
  for (int i = 0; i < 10'000; ++i) EXPECT_FALSE(complaints_.Note("a", "garbage"));
  EXPECT_TRUE(complaints_.Note("b", "garbage"));
  EXPECT_EQ(complaints_.line_count(), 2u);
  clock_.now = seconds(61);
  complaints_.Sweep();
  EXPECT_EQ(complaints_.line_count(), 3u) << "one line for the ten thousand of a, none for b";
}

TEST_F(ComplaintsTest, ASourceThatNeverStops_IsALineAMinute) {
  for (int second = 0; second <= 600; ++second) {
    clock_.now = seconds(second);
    complaints_.Note("a", "garbage");
    complaints_.Sweep();
  }
  EXPECT_EQ(complaints_.line_count(), 11u);
}

TEST_F(ComplaintsTest, ASourceThatWasQuietForAMinute_IsNewAgain) {
  EXPECT_TRUE(complaints_.Note("a", "garbage"));
  clock_.now = seconds(61);
  complaints_.Sweep();
  EXPECT_TRUE(complaints_.Note("a", "garbage"));
}

TEST_F(ComplaintsTest, SourcesWithoutEnd_ShareALine) {
  for (int i = 0; i < 100'000; ++i) complaints_.Note(std::to_string(i), "garbage");
  EXPECT_EQ(complaints_.line_count(), Complaints::kSourcesMax + 1);
  clock_.now = seconds(61);
  complaints_.Sweep();
  EXPECT_EQ(complaints_.line_count(), Complaints::kSourcesMax + 2);
}

TEST(PrintableTest, TextOfStrangers_IsCut_AndHasNoLineEnds) {
  EXPECT_EQ(Printable("orders-1"), "orders-1");
  EXPECT_EQ(Printable("a\nb\x1b\xff"), "a?b??");
  EXPECT_EQ(Printable(std::string(5'000, 'x')).size(), 200u);
}

}  // namespace
}  // namespace millrace::raft::net

#include "broker/node/clock_guard.h"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr int64_t kNow = 1'750'000'000'000;
constexpr int64_t kHour = 3'600'000;

TEST(ClockGuardTest, AClockNearTheMedian_Agrees) {
  EXPECT_EQ(JudgeClock(kNow, {kNow + kClockErrorMaxMs, kNow + kHour}, 3), ClockVerdict::kAgrees);
  EXPECT_EQ(JudgeClock(kNow, {kNow + kHour, kNow - kHour}, 3), ClockVerdict::kAgrees);
}

TEST(ClockGuardTest, OneThatIsFarFromIt_Differs) {
  EXPECT_EQ(JudgeClock(kNow, {kNow - kHour, kNow - kHour}, 3), ClockVerdict::kDiffers);
  EXPECT_EQ(JudgeClock(kNow, {kNow + kClockErrorMaxMs + 1, kNow + kHour}, 3),
            ClockVerdict::kDiffers);
}

TEST(ClockGuardTest, OfTwoThatDiffer_NeitherIsBelieved) {
  EXPECT_EQ(JudgeClock(kNow, {kNow + kHour}, 2), ClockVerdict::kDiffers);
  EXPECT_EQ(JudgeClock(kNow + kHour, {kNow}, 2), ClockVerdict::kDiffers);
}

TEST(ClockGuardTest, ABrokerThatHearsNoMajoritysClocks_KnowsNothing) {
  EXPECT_EQ(JudgeClock(kNow, {}, 2), ClockVerdict::kUnknown);
  EXPECT_EQ(JudgeClock(kNow, {}, 3), ClockVerdict::kUnknown);
  EXPECT_EQ(JudgeClock(kNow, {kNow}, 3), ClockVerdict::kAgrees);
  EXPECT_EQ(JudgeClock(kNow, {kNow}, 4), ClockVerdict::kUnknown);
  EXPECT_EQ(JudgeClock(kNow, {kNow}, 5), ClockVerdict::kUnknown);
}

TEST(ClockGuardTest, ABrokerThatIsAlone_HasNoOtherClock) {
  EXPECT_EQ(JudgeClock(kNow, {}, 1), ClockVerdict::kAgrees);
}

}  // namespace
}  // namespace millrace::broker

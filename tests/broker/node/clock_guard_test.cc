// When a broker believes its clock.
#include "broker/node/clock_guard.h"

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

constexpr int64_t kHour = 3'600'000;

TEST(ClockGuard, ABrokerAlone_HasNothingToDoubtItBy) { EXPECT_TRUE(IsClockTrusted(kHour, {})); }

TEST(ClockGuard, OfThree_TheOneThatIsWrong_IsNotBelieved_AndTheOthersAre) {
  EXPECT_FALSE(IsClockTrusted(kHour, {5, 10}));
  EXPECT_FALSE(IsClockTrusted(-kHour, {5, 10}));
  EXPECT_TRUE(IsClockTrusted(5, {kHour, 10}));
  EXPECT_TRUE(IsClockTrusted(5, {-kHour, 10}));
}

TEST(ClockGuard, OfTwoThatDiffer_NeitherIsBelieved) {
  EXPECT_FALSE(IsClockTrusted(kHour, {0}));
  EXPECT_FALSE(IsClockTrusted(0, {kHour}));
  EXPECT_TRUE(IsClockTrusted(0, {2 * kClockErrorMaxMs})) << "half of it each";
}

TEST(ClockGuard, AMinuteIsLeft_ForClocksThatDrift) {
  EXPECT_TRUE(IsClockTrusted(kClockErrorMaxMs, {0, 0}));
  EXPECT_FALSE(IsClockTrusted(kClockErrorMaxMs + 1, {0, 0}));
}

}  // namespace
}  // namespace millrace::broker

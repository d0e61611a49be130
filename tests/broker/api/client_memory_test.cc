#include "broker/api/client_memory.h"

#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

TEST(MemoryBudget, AllowsAnEighthOfWhatIsFree) {
  MemoryBudget budget(800, 8);
  EXPECT_EQ(budget.Allowance(), 100u);
  budget.Take(400);
  EXPECT_EQ(budget.Allowance(), 50u);
  budget.Give(400);
  EXPECT_EQ(budget.Allowance(), 100u);
}

TEST(MemoryBudget, LeavesRoomForANewcomer_WhenManyHoldTheirAllowance) {
  MemoryBudget budget(1 << 20, 8);
  for (int i = 0; i < 50; ++i) budget.Take(budget.Allowance());
  EXPECT_GT(budget.Allowance(), 0u);
  EXPECT_LT(budget.used(), budget.bytes_max());
}

TEST(MemoryBudget, AllowsNothing_WhenMoreArrivedThanThereWasRoom) {
  MemoryBudget budget(100, 8);
  budget.Take(150);
  EXPECT_EQ(budget.free(), 0u);
  EXPECT_EQ(budget.Allowance(), 0u);
}

TEST(MemoryBudget, WakesWhoWaitedLongest_AndOnlyAsManyAsFit) {
  MemoryBudget budget(100, 8);
  budget.Take(100);
  std::string woken;
  for (const char name : {'a', 'b', 'c'}) {
    budget.Wait(10, [&woken, &budget, name] {
      woken += name;
      budget.Take(10);
    });
  }
  budget.Give(9);
  EXPECT_EQ(woken, "");
  budget.Give(11);
  EXPECT_EQ(woken, "ab");
  EXPECT_TRUE(budget.has_waiters());
  budget.Give(10);
  EXPECT_EQ(woken, "abc");
}

TEST(MemoryBudget, WakesFirstWhoAsksForLeast) {
  MemoryBudget budget(100, 8);
  budget.Take(100);
  std::string woken;
  budget.Wait(50, [&woken] { woken += "much"; });
  budget.Wait(10, [&woken] { woken += "little"; });
  budget.Give(20);
  EXPECT_EQ(woken, "little");
}

TEST(MemoryBudget, WakesTheNext_WhenTheWokenTakesNothing) {
  MemoryBudget budget(100, 8);
  budget.Take(100);
  int woken = 0;
  for (int i = 0; i < 1000; ++i) budget.Wait(10, [&woken] { ++woken; });
  budget.Give(10);
  EXPECT_EQ(woken, 1000);
}

TEST(MemoryBudget, SeesWhatAWokenOneGivesBackAtOnce) {
  MemoryBudget budget(100, 8);
  budget.Take(100);
  int woken = 0;
  for (int i = 0; i < 1000; ++i) {
    budget.Wait(10, [&woken, &budget] {
      const MemoryHold hold(budget, 10);
      ++woken;
    });
  }
  budget.Give(10);
  EXPECT_EQ(woken, 1000);
  EXPECT_EQ(budget.used(), 90u);
}

TEST(MemoryBudget, DoesNotWakeWhoGaveUp) {
  MemoryBudget budget(100, 8);
  budget.Take(100);
  bool is_woken = false;
  budget.CancelWait(budget.Wait(10, [&is_woken] { is_woken = true; }));
  budget.Give(100);
  EXPECT_FALSE(is_woken);
}

TEST(MemoryHold, GivesBackOnce_HoweverItMoves) {
  MemoryBudget budget(100, 8);
  {
    MemoryHold first(budget, 30);
    MemoryHold second = std::move(first);
    MemoryHold third;
    third = std::move(second);
    EXPECT_EQ(budget.used(), 30u);
    EXPECT_EQ(third.bytes(), 30u);
    third.Release();
    EXPECT_EQ(budget.used(), 0u);
  }
  EXPECT_EQ(budget.used(), 0u);
}

}  // namespace
}  // namespace millrace::broker

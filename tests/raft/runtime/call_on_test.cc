#include "raft/runtime/call_on.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "raft/runtime/lifetime.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace {
namespace {

class CallOnTest : public testing::Test {
 protected:
  void Settle() { world_.RunFor(std::chrono::milliseconds(10)); }

  sim::SimWorld world_{1};
  Executor& here_ = world_.AddProcess("here").executor();
  Executor& there_ = world_.AddProcess("there").executor();
};

TEST_F(CallOnTest, WorkRunsThere_AndItsResultComesBackHere) {
  bool was_there = false;
  bool was_here = false;
  std::unique_ptr<std::string> result;
  CallOn<std::unique_ptr<std::string>>(
      there_, here_,
      [&] {
        was_there = there_.IsOwnerThread();
        return std::make_unique<std::string>("made");
      },
      [&](std::unique_ptr<std::string> made) {
        was_here = here_.IsOwnerThread();
        result = std::move(made);
      });
  EXPECT_EQ(result, nullptr) << "never inline";
  Settle();
  EXPECT_TRUE(was_there);
  EXPECT_TRUE(was_here);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(*result, "made");
}

TEST_F(CallOnTest, AnAnswerToWhoIsGone_IsDropped) {
  auto life = std::make_unique<Lifetime>();
  bool is_answered = false;
  CallOn<int>(there_, here_, [] { return 1; }, life->Guard([&](int) { is_answered = true; }));
  life.reset();
  Settle();
  EXPECT_FALSE(is_answered);
}

TEST_F(CallOnTest, RunOn_TakesItsArgumentsAlong) {
  int sum = 0;
  auto add = RunOn(here_, [&sum](int a, std::unique_ptr<int> b) { sum = a + *b; });
  there_.Post([add = std::move(add)]() mutable { add(1, std::make_unique<int>(2)); });
  Settle();
  EXPECT_EQ(sum, 3);
}

}  // namespace
}  // namespace millrace

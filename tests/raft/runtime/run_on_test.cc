#include "raft/runtime/run_on.h"

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "raft/runtime/lifetime.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace {
namespace {

class RunOnTest : public testing::Test {
 protected:
  void Settle() { world_.RunFor(std::chrono::milliseconds(10)); }

  sim::SimWorld world_{1};
  Executor& here_ = world_.AddProcess("here").executor();
  Executor& there_ = world_.AddProcess("there").executor();
};

TEST_F(RunOnTest, WorkRunsThere_AndItsResultComesBackHere) {
  bool was_there = false;
  bool was_here = false;
  std::unique_ptr<std::string> result;
  auto answer = RunOn(here_, [&](std::unique_ptr<std::string> made) {
    was_here = here_.IsOwnerThread();
    result = std::move(made);
  });
  there_.Post([&, answer = std::move(answer)]() mutable {
    was_there = there_.IsOwnerThread();
    answer(std::make_unique<std::string>("made"));
    EXPECT_EQ(result, nullptr) << "never inline";
  });
  EXPECT_EQ(result, nullptr) << "never inline";
  Settle();
  EXPECT_TRUE(was_there);
  EXPECT_TRUE(was_here);
  ASSERT_NE(result, nullptr);
  EXPECT_EQ(*result, "made");
}

TEST_F(RunOnTest, AnAnswerToWhoIsGone_IsDropped) {
  auto life = std::make_unique<Lifetime>();
  bool is_answered = false;
  auto answer = RunOn(here_, life->Guard([&](int) { is_answered = true; }));
  there_.Post([answer = std::move(answer)]() mutable { answer(1); });
  life.reset();
  Settle();
  EXPECT_FALSE(is_answered);
}

TEST_F(RunOnTest, RunOn_TakesItsArgumentsAlong) {
  int sum = 0;
  auto add = RunOn(here_, [&sum](int a, std::unique_ptr<int> b) { sum = a + *b; });
  there_.Post([add = std::move(add)]() mutable { add(1, std::make_unique<int>(2)); });
  Settle();
  EXPECT_EQ(sum, 3);
}

}  // namespace
}  // namespace millrace

#include "raft/runtime/errand.h"

#include <chrono>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;

class ErrandTest : public ::testing::Test {
 protected:
  void Pass(milliseconds time) { world_.RunFor(time); }

  sim::SimWorld world_{1};
  Executor& executor_ = world_.AddProcess("here").executor();
  Lifetime owner_;
  Errand errand_{executor_, owner_};
  std::string done_;
};

TEST_F(ErrandTest, WhatItWaitsFor_IsDone_WhileItLasts_AndNotAfterwards) {
  auto guarded = errand_.While([this](const std::string& what) { done_ += what; });
  guarded("a");
  errand_.End();
  guarded("b");
  EXPECT_EQ(done_, "a");
}

TEST_F(ErrandTest, WhatItWaitsFor_IsNotDone_OnceItsOwnerEnded) {
  auto guarded = errand_.While([this] { done_ += "a"; });
  owner_.End();
  guarded();
  EXPECT_EQ(done_, "");
}

TEST_F(ErrandTest, OfTwoWaits_TheLaterOneCounts) {
  errand_.After(milliseconds(10), [this] { done_ += "a"; });
  errand_.After(milliseconds(20), [this] { done_ += "b"; });
  Pass(milliseconds(19));
  EXPECT_EQ(done_, "");
  Pass(milliseconds(1));
  EXPECT_EQ(done_, "b");
}

TEST_F(ErrandTest, WaitsNoMore_OnceItEnded_OrIsTold) {
  errand_.After(milliseconds(10), [this] { done_ += "a"; });
  errand_.StopWaiting();
  Pass(milliseconds(20));
  errand_.After(milliseconds(10), [this] { done_ += "b"; });
  errand_.End();
  Pass(milliseconds(20));
  EXPECT_EQ(done_, "");
}

}  // namespace
}  // namespace millrace

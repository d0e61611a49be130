#include "raft/runtime/lifetime.h"

#include <memory>

#include <gtest/gtest.h>

#include "raft/runtime/task.h"

namespace millrace {
namespace {

TEST(Lifetime, AGuardedFunction_RunsWhileItLasts_AndNotAfterwards) {
  auto life = std::make_unique<Lifetime>();
  int calls = 0;
  auto guarded = life->Guard([&calls](int by) { calls += by; });
  guarded(2);
  EXPECT_EQ(calls, 2);
  life.reset();
  guarded(2);
  EXPECT_EQ(calls, 2);
}

TEST(Lifetime, ThatIsEnded_IsOver_ThoughTheObjectIsThere) {
  Lifetime life;
  const LifeWatch watch = life.watch();
  EXPECT_TRUE(watch);
  EXPECT_FALSE(life.has_ended());
  life.End();
  EXPECT_FALSE(watch);
  EXPECT_TRUE(life.has_ended());
}

TEST(Lifetime, AGuardedFunction_TakesWhatCanOnlyBeMoved) {
  Lifetime life;
  int seen = 0;
  MoveFunction<void(std::unique_ptr<int>)> guarded =
      life.Guard([&seen, own = std::make_unique<int>(1)](std::unique_ptr<int> value) {
        seen = *own + *value;
      });
  guarded(std::make_unique<int>(2));
  EXPECT_EQ(seen, 3);
}

}  // namespace
}  // namespace millrace

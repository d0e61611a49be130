#include "raft/runtime/event_loop.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/loop_thread.h"
#include "raft/runtime/thread_owner.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;

TEST(EventLoop, PostedTasks_RunInOrder_AndNeverInline) {
  EventLoop loop;
  std::string order;
  loop.Post([&] {
    loop.Post([&] {
      order += "3";
      loop.Stop();
    });
    order += "1";
  });
  loop.Post([&] { order += "2"; });
  EXPECT_EQ(order, "");
  loop.Run();
  EXPECT_EQ(order, "123");
}

TEST(EventLoop, Timers_RunByDeadline_EqualOnesInTheOrderSet) {
  EventLoop loop;
  std::string order;
  loop.RunAfter(milliseconds(20), [&] { loop.Stop(); });
  loop.RunAfter(milliseconds(10), [&] { order += "2"; });
  loop.RunAfter(milliseconds(1), [&] { order += "1"; });
  loop.Run();
  EXPECT_EQ(order, "12");
}

TEST(EventLoop, CancelledTimer_DoesNotRun_AndIsDestroyed) {
  EventLoop loop;
  auto owned = std::make_shared<int>();
  const TimerId timer = loop.RunAfter(milliseconds(1), [owned] { FAIL(); });
  loop.RunAfter(milliseconds(5), [&] { loop.Stop(); });
  loop.Cancel(timer);
  EXPECT_EQ(owned.use_count(), 1);
  loop.Run();
  loop.Cancel(timer);
}

TEST(EventLoop, TimerThatRearmsItselfAtOnce_DoesNotStarvePostedTasks) {
  EventLoop loop;
  std::function<void()> again = [&] { loop.RunAfter(Duration(0), [&] { again(); }); };
  again();
  loop.Post([&] { loop.Post([&] { loop.Stop(); }); });
  loop.Run();
}

TEST(EventLoop, TasksLeftAtStop_AreDestroyedUnrun) {
  EventLoop loop;
  auto owned = std::make_shared<int>();
  loop.Post([&, owned] {
    loop.Stop();
    loop.Post([owned] { FAIL(); });
    loop.RunAfter(milliseconds(1), [owned] { FAIL(); });
  });
  loop.Run();
  loop.Post([owned] { FAIL(); });
  EXPECT_EQ(owned.use_count(), 1);
}

TEST(LoopThread, TasksOfManyThreads_AllRun_EachThreadsInOrder) {
  constexpr int kThreads = 4;
  constexpr int kTasks = 5000;
  LoopThread runner("test");
  std::vector<int> last(kThreads, -1);  // touched on the loop's thread alone
  {
    std::vector<std::thread> posters;
    for (int who = 0; who < kThreads; ++who) {
      posters.emplace_back([&, who] {
        for (int number = 0; number < kTasks; ++number) {
          runner.executor().Post([&last, who, number] {
            EXPECT_EQ(last[static_cast<size_t>(who)], number - 1);
            last[static_cast<size_t>(who)] = number;
          });
        }
      });
    }
    for (std::thread& poster : posters) poster.join();
  }
  runner.RunAndWait([] {});
  runner.Stop();
  EXPECT_EQ(last, std::vector<int>(kThreads, kTasks - 1));
  EXPECT_LE(runner.loop().wake_count(), uint64_t{kThreads} * kTasks + 2);
}

TEST(LoopThread, BusyLoop_IsNotWokenAgain) {
  LoopThread runner("test");
  std::atomic<bool> is_busy{false};
  std::atomic<bool> may_go_on{false};
  runner.executor().Post([&] {
    is_busy = true;
    while (!may_go_on) std::this_thread::yield();
  });
  while (!is_busy) std::this_thread::yield();
  const uint64_t before = runner.loop().wake_count();
  for (int i = 0; i < 100; ++i) runner.executor().Post([] {});
  EXPECT_EQ(runner.loop().wake_count(), before);
  may_go_on = true;
}

TEST(LoopThread, KnowsItsOwnThread) {
  LoopThread runner("a name that is longer than fifteen characters");
  bool is_owner_inside = false;
  runner.RunAndWait([&] { is_owner_inside = runner.executor().IsOwnerThread(); });
  EXPECT_TRUE(is_owner_inside);
  EXPECT_FALSE(runner.executor().IsOwnerThread());
}

}  // namespace
}  // namespace millrace

// Which thread a file's sync runs on, with modelled threads that can be held.
#include "storage/file/sync_runner.h"

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::storage {
namespace {

using File = SyncRunner::File;

class SyncRunnerTest : public testing::Test {
 protected:
  SyncRunnerTest() {
    first_.Pause();
    second_.Pause();
  }

  void Sync(const std::shared_ptr<File>& file, const std::string& name, Status status = {}) {
    runner_->Run(
        file,
        [this, name, status] {
          ran_.push_back(name);
          return status;
        },
        [this, name](const Status& outcome) {
          completed_.push_back(name + (outcome.ok() ? "" : " failed"));
        });
  }
  void Run() { world_.RunFor(std::chrono::seconds(1)); }

  using Names = std::vector<std::string>;
  sim::SimWorld world_{1};
  sim::SimProcess& here_ = world_.AddProcess("here");
  sim::SimProcess& first_ = world_.AddProcess("first");
  sim::SimProcess& second_ = world_.AddProcess("second");
  std::shared_ptr<SyncRunner> runner_ = std::make_shared<SyncRunner>(
      here_.executor(), std::vector<Executor*>{&first_.executor(), &second_.executor()});
  const std::shared_ptr<File> a_ = std::make_shared<File>();
  const std::shared_ptr<File> b_ = std::make_shared<File>();
  Names ran_;
  Names completed_;
};

TEST_F(SyncRunnerTest, AFileDoesNotWaitForAnotherOne) {
  Sync(a_, "a");
  Sync(b_, "b");
  second_.Resume();
  Run();
  EXPECT_EQ(completed_, Names{"b"});
  first_.Resume();
  Run();
  EXPECT_EQ(completed_, (Names{"b", "a"}));
}

TEST_F(SyncRunnerTest, SyncsOfOneFile_AreNotUnderWayTogether_WhicheverThreadIsFree) {
  Sync(a_, "a1", Unavailable("no disk"));
  Sync(a_, "a2");
  second_.Resume();
  Run();
  EXPECT_EQ(ran_, Names{});
  first_.Resume();
  Run();
  EXPECT_EQ(completed_, (Names{"a1 failed", "a2"}));
}

TEST_F(SyncRunnerTest, ItsNextSync_GoesWhereLeastWaits) {
  second_.Resume();
  Sync(a_, "a");
  Sync(b_, "b1");
  Run();
  Sync(b_, "b2");
  Run();
  EXPECT_EQ(completed_, (Names{"b1", "b2"}));
}

TEST_F(SyncRunnerTest, WhatIsUnderWayOutlivesTheRunner) {
  Sync(a_, "a");
  runner_.reset();
  first_.Resume();
  Run();
  EXPECT_EQ(completed_, Names{"a"});
}

TEST_F(SyncRunnerTest, WithoutThreads_TheCallerSyncs) {
  runner_ = std::make_shared<SyncRunner>(here_.executor(), std::vector<Executor*>());
  Sync(a_, "a");
  EXPECT_EQ(ran_, Names{"a"});
  EXPECT_EQ(completed_, Names{});
  Run();
  EXPECT_EQ(completed_, Names{"a"});
}

}  // namespace
}  // namespace millrace::storage

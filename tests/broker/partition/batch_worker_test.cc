#include "broker/partition/batch_worker.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using ::testing::ElementsAre;
using Kind = BatchWorker::Kind;

class BatchWorkerTest : public ::testing::Test {
 protected:
  BatchWorkerTest()
      : worker(std::make_unique<BatchWorker>(world.AddProcess("shard").executor(),
                                             world.AddProcess("worker").executor())) {}

  // Work that tells its name, when it runs and when it is done.
  void Run(const std::string& name, Kind kind, uint64_t bytes = 0) {
    worker->Run<std::string>(
        {.kind = kind, .bytes = bytes},
        [this, name] {
          EXPECT_TRUE(world.process("worker").executor().IsOwnerThread());
          ran.push_back(name);
          return name;
        },
        [this](const std::string& result) { done.push_back(result); });
  }

  sim::SimWorld world{1};
  std::unique_ptr<BatchWorker> worker;
  std::vector<std::string> ran;
  std::vector<std::string> done;
};

TEST_F(BatchWorkerTest, Results_ComeInTheOrderOfTheWork_NeverInline) {
  for (const char* name : {"a", "b", "c"}) Run(name, Kind::kProduced);
  EXPECT_TRUE(ran.empty());
  world.RunFor(std::chrono::seconds(1));
  EXPECT_THAT(done, ElementsAre("a", "b", "c"));
}

TEST_F(BatchWorkerTest, WhatIsProduced_WaitsForOneReadAtMost) {
  for (const char* name : {"read 1", "read 2", "read 3"}) Run(name, Kind::kFetched);
  for (const char* name : {"a", "b"}) Run(name, Kind::kProduced);
  world.RunFor(std::chrono::seconds(1));
  EXPECT_THAT(ran, ElementsAre("read 1", "a", "b", "read 2", "read 3"));
  EXPECT_EQ(done, ran);
}

TEST_F(BatchWorkerTest, Admit_RefusesWithARetry_UntilThereIsRoom) {
  EXPECT_TRUE(worker->Admit(BatchWorker::kProducedBytesMax + 1).ok()) << "one may wait";
  Run("a", Kind::kProduced, BatchWorker::kProducedBytesMax - 10);
  EXPECT_TRUE(worker->Admit(10).ok());
  const Status refused = worker->Admit(11);
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_EQ(refused.reason(), Reason::kThrottled);
  EXPECT_TRUE(refused.retry_after_ms().has_value());
  world.RunFor(std::chrono::seconds(1));
  EXPECT_TRUE(worker->Admit(11).ok());
}

TEST_F(BatchWorkerTest, AfterItsEnd_NothingIsCalledBack) {
  Run("a", Kind::kProduced);
  Run("b", Kind::kFetched);
  Run("c", Kind::kFetched);
  worker.reset();
  world.RunFor(std::chrono::seconds(1));
  EXPECT_THAT(ran, ElementsAre("a", "b"));
  EXPECT_TRUE(done.empty());
}

}  // namespace
}  // namespace millrace::broker

// Random lives of a log store under crashes: what was acknowledged is there, what was committed is
// readable, and snapshots are those of exactly their index.
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/storage/logstore/log_store_rig.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::storage {
namespace {

// "" or what is wrong. Starts again when the machine dies while it starts.
std::string StartAndCompare(LogStoreRig& rig) {
  Status started = rig.Start();
  for (int again = 0; started.code() == Code::kAborted && again < 5; ++again) {
    rig.Crash(rig.random().OneIn(2));
    started = rig.Start();
  }
  if (!started.ok()) return "could not start: " + started.ToString();
  return rig.CompareWithModel();
}

std::string PlayLives(uint64_t seed) {
  LogStoreRig rig(seed);
  Random& random = rig.random();
  rig.makes_checkpoints = true;
  if (random.OneIn(2)) rig.options.large_write_bytes = 2 << 10;
  const uint64_t lives = random.Between(2, 6);
  for (uint64_t life = 0; life < lives; ++life) {
    if (random.OneIn(4)) {
      rig.disk().CrashAtOperation(random.Between(1, 20), [&] { rig.Crash(false); });
    }
    const std::string wrong = StartAndCompare(rig);
    if (!wrong.empty()) return wrong;
    if (!rig.is_alive()) continue;
    rig.disk().CrashAtOperation(random.Between(1, 400), [&] { rig.Crash(false); });
    const uint64_t steps = random.Between(1, 300);
    for (uint64_t i = 0; i < steps && rig.is_alive(); ++i) {
      rig.RandomStep();
      if (random.OneIn(3)) rig.RunFor(Duration(static_cast<int64_t>(random.Below(4000))));
      if (!rig.failure().empty()) return "failed: " + rig.failure();
      if (!rig.faults().empty()) return "fault: " + rig.faults().begin()->second.ToString();
    }
    if (rig.is_alive() && random.OneIn(3)) rig.Settle();
    rig.Crash(!random.OneIn(4));
  }
  rig.disk().ForgetCrash();
  return StartAndCompare(rig);
}

TEST(LogStoreProperty, CommittedEntriesSurvive_WhenTheMachineDiesAnywhere) {
  sim::ExpectHolds({.count = 400, .count_long = 5'000}, PlayLives);
}

// The same short life, ended at its first disk operation, its second, and so on to its last.
class LogStoreSweep : public testing::TestWithParam<uint64_t> {};

INSTANTIATE_TEST_SUITE_P(LargeWriteBytes, LogStoreSweep, testing::Values(1 << 10, 1 << 30));

TEST_P(LogStoreSweep, CommittedEntriesSurvive_WhenTheMachineDiesAtEachDiskOperation) {
  uint64_t operation = 1;
  for (bool has_crashed = true; has_crashed; ++operation) {
    LogStoreRig rig(77);
    rig.makes_checkpoints = true;
    rig.options.large_write_bytes = GetParam();
    has_crashed = false;
    rig.disk().CrashAtOperation(operation, [&] {
      has_crashed = true;
      rig.Crash(false);
    });
    if (rig.Start().ok()) {
      for (int step = 0; step < 60 && rig.is_alive(); ++step) {
        if (step == 0) rig.CreateGroup(5);
        if (step > 0) rig.RandomStep();
        rig.RunFor(std::chrono::milliseconds(3));
      }
    }
    rig.Crash(true);
    ASSERT_EQ(StartAndCompare(rig), "") << "operation=" << operation;
  }
  EXPECT_GT(operation, 100U);
}

// The same short life, in which one call of a group's folder fails and, a second later, none does:
// everything is there then, and after a power cut too.
TEST_P(LogStoreSweep, CommittedEntriesSurvive_WhenAnyCallOfSegmentsFailsForAWhile) {
  uint64_t stalls = 0;
  uint64_t call = 1;
  for (bool has_failed = true; has_failed; ++call) {
    LogStoreRig rig(78);
    rig.options.large_write_bytes = GetParam();
    has_failed = false;
    bool is_segments = false;
    ASSERT_TRUE(rig.Start().ok());
    rig.disk().FailCall(call, ResourceExhausted("Too many open files"),
                        [&](sim::SimDisk::Kind, const std::string& path) {
                          has_failed = true;
                          is_segments = path.starts_with("groups");
                        });
    rig.CreateGroup(5);
    for (int step = 0; step < 60; ++step) {
      rig.RandomStep();
      rig.RunFor(std::chrono::milliseconds(3));
    }
    rig.disk().ForgetFaults();
    if (has_failed && !is_segments) continue;
    rig.Settle();
    rig.RunFor(std::chrono::seconds(1));
    stalls += rig.store().stalls();
    ASSERT_EQ(rig.failure(), "") << "call=" << call;
    ASSERT_TRUE(rig.faults().empty()) << "call=" << call << " " << rig.faults().begin()->second;
    ASSERT_TRUE(rig.stalled().empty()) << "call=" << call;
    rig.Crash(true);
    ASSERT_EQ(StartAndCompare(rig), "") << "call=" << call;
  }
  EXPECT_GT(stalls, 30U);
}

class LogStoreMutants : public testing::TestWithParam<Mutant> {};

TEST_P(LogStoreMutants, IsFound_WithinFiveHundredSeeds) {
  sim::ExpectFound(GetParam(), 500, PlayLives);
}

INSTANTIATE_TEST_SUITE_P(All, LogStoreMutants,
                         testing::Values(Mutant::kAckBeforeFsync, Mutant::kSkipDirectorySync,
                                         Mutant::kExtentNamedBeforeSynced,
                                         Mutant::kDeadExtentComesBack,
                                         Mutant::kCommittedEndFromWrittenEnd,
                                         Mutant::kExtentOverwritesLive, Mutant::kUnlinkBeforeBegin,
                                         Mutant::kStateGoesWithItsLog, Mutant::kReadSkipsDropped,
                                         Mutant::kCheckpointAboveEnd,
                                         Mutant::kCheckpointStateAhead));

}  // namespace
}  // namespace millrace::storage

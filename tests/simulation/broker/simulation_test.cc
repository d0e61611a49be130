// Whole brokers under ordinary random seeds: the product must satisfy every rule, and each broken
// variant that belongs to this level must be found.

#include <cstdlib>
#include <iostream>
#include <string>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/simulation/broker/run.h"

namespace millrace::sim {
namespace {

// MILLRACE_SIMULATION_SEEDS asks for more, as the long form of the tests does.
uint64_t SeedCount(uint64_t usual) {
  const char* text = std::getenv("MILLRACE_SIMULATION_SEEDS");
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

class SimulationTest : public testing::Test {
 protected:
  void SetUp() override { FLAGS_minloglevel = google::GLOG_FATAL; }
  void TearDown() override { active_mutant = Mutant::kNone; }
};

void ExpectClean(const RunOptions& options) {
  const RunResult result = RunSeed(options);
  std::string found;
  for (const std::string& anomaly : result.anomalies) found += anomaly + "\n";
  EXPECT_TRUE(result.anomalies.empty()) << found << result.swarm << "\nrerun: " << options.Rerun();
  EXPECT_GT(result.acknowledged, 0u) << "rerun: " << options.Rerun();
}

TEST_F(SimulationTest, RandomSeeds_KeepEveryPromise) {
  for (uint64_t seed = 1; seed <= SeedCount(150); ++seed) ExpectClean({.seed = seed});
}

TEST_F(SimulationTest, TheSameSeed_GivesTheSameTrace) {
  for (uint64_t seed = 1001; seed <= 1020; ++seed) {
    const RunOptions options{.seed = seed, .chaos = std::chrono::seconds(3)};
    EXPECT_EQ(RunSeed(options).trace_hash, RunSeed(options).trace_hash) << "seed=" << seed;
  }
}

// How a broken variant shows itself: an anomaly that is named, or an invariant of the product that
// stops the process, which is why each seed runs in a process of its own.
bool IsFoundBySeed(uint64_t seed) {
  const auto run = [seed] {
    const RunResult result = RunSeed({.seed = seed});
    std::_Exit(result.anomalies.empty() ? 0 : 1);
  };
  bool is_found = false;
  EXPECT_EXIT(
      run(),
      [&is_found](int status) {
        is_found = !testing::ExitedWithCode(0)(status);
        return true;
      },
      "");
  return is_found;
}

class BrokenVariant : public SimulationTest, public testing::WithParamInterface<Mutant> {};

TEST_P(BrokenVariant, IsFound_WithinABoundedNumberOfSeeds) {
  constexpr uint64_t kSeedsMax = 40;
  GTEST_FLAG_SET(death_test_style, "fast");
  active_mutant = GetParam();
  for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
    if (!IsFoundBySeed(seed)) continue;
    RecordProperty("found_by_seed", static_cast<int>(seed));
    std::cout << NameOf(GetParam()) << " found by seed " << seed << std::endl;
    return;
  }
  FAIL() << NameOf(GetParam()) << " was not found by seeds 1 to " << kSeedsMax;
}

INSTANTIATE_TEST_SUITE_P(WholeBrokers, BrokenVariant,
                         testing::Values(Mutant::kAckBeforeFsync,
                                         Mutant::kSequencesLostOnLeaderChange),
                         [](const auto& variant) { return std::string(NameOf(variant.param)); });

}  // namespace
}  // namespace millrace::sim

// Seeds of the core-level simulator, the same in every run: correct code stays clean, and each
// broken variant is found. tests/run.py plays fresh ones.

#include <cstdint>
#include <iostream>
#include <optional>
#include <string>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/simulation/core/cluster.h"
#include "tests/simulation/core/mutants.h"
#include "tests/simulation/regressions.h"
#include "tests/simulation/seed_budget.h"

namespace millrace::simulation::core {
namespace {

constexpr SeedBudget::Options kCleanSeeds{
    .first = 1, .least = 600, .most = 3'000, .cpu_seconds = 60};
constexpr uint64_t kSeedsToFindMutantMax = 500;

void ExpectClean(uint64_t seed) {
  const Outcome outcome = Simulate(seed);
  ASSERT_TRUE(outcome.ok()) << outcome.anomaly.name << ": " << outcome.anomaly.details << "\n"
                            << outcome.swarm.ToString() << "\nrerun: simulate_core --seed=" << seed;
}

TEST(SimulationTest, SeedsThatOnceFailed_StayClean) {
  const auto known = sim::RegressionsOf("core");
  ASSERT_TRUE(known.ok()) << known.status();
  for (const sim::Regression& regression : *known) {
    EXPECT_TRUE(regression.flags.empty()) << "a core seed has no flags: " << regression.flags[0];
    ExpectClean(regression.seed);
  }
}

TEST(SimulationTest, FixedSeeds_FindNoAnomaly) {
  SeedBudget budget(kCleanSeeds);
  while (const std::optional<uint64_t> seed = budget.Next()) {
    ExpectClean(*seed);
    if (HasFatalFailure()) return;
  }
}

TEST(SimulationTest, SameSeed_GivesSameTrace) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome first = Simulate(seed);
    const Outcome again = Simulate(seed);
    EXPECT_EQ(first.statistics.trace_hash, again.statistics.trace_hash) << "seed=" << seed;
    EXPECT_EQ(first.statistics.counters, again.statistics.counters) << "seed=" << seed;
  }
}

TEST(SimulationTest, Seeds_ReachTheStatesThatFaultsAimAt) {
  Statistics sum;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    for (const auto& [name, value] : Simulate(seed).statistics.counters) {
      sum.counters[name] += value;
    }
  }
  for (const char* state :
       {"elections won", "truncations", "late completions", "reads", "reads for followers",
        "proposals refused", "power cuts", "moved begins"}) {
    EXPECT_GE(sum.counters[state], 20u) << state;
  }
}

#if defined(MILLRACE_MUTANTS)

class MutantTest : public testing::TestWithParam<Mutant> {};

// By an anomaly that the oracle names. A CHECK finds nothing: it may be the simulator's own. In a
// process of its own, so that one ends this variant's test alone.
bool IsFoundBySeeds(Mutant mutant) {
  const pid_t child = fork();
  if (child == 0) {
    active_mutant = mutant;
    for (uint64_t seed = 1; seed <= kSeedsToFindMutantMax; ++seed) {
      const Outcome outcome = Simulate(seed);
      if (outcome.ok()) continue;
      std::cout << "found by seed " << seed << ": " << outcome.anomaly.name << std::endl;
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

TEST_P(MutantTest, IsFoundWithinBoundedSeeds) {
  EXPECT_TRUE(IsFoundBySeeds(GetParam())) << NameOf(GetParam());
}

INSTANTIATE_TEST_SUITE_P(AllOfTheCore, MutantTest, testing::ValuesIn(kCoreMutants),
                         [](const auto& mutant) { return std::string(NameOf(mutant.param)); });

#endif

}  // namespace
}  // namespace millrace::simulation::core

// How property tests play random seeds. A play is a function of its seed alone and tells what is
// wrong, "" if nothing is.
//
// The test's thread.
//
//   TEST(JournalProperty, Holds) { ExpectHolds({.count = 1500, .count_long = 20'000}, Play); }
//   TEST(JournalMutants, IsFound) { ExpectFound(Mutant::kAckBeforeFsync, 1000, Play); }
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"

namespace millrace::sim {

using Play = std::function<std::string(uint64_t seed)>;

struct Counts {
  uint64_t count = 0;       // of the short form, from 1 on
  uint64_t count_long = 0;  // with MILLRACE_LONG set
};

struct SeedRange {
  uint64_t first = 1;
  uint64_t count = 0;
};

// MILLRACE_SEED names one alone.
inline SeedRange SeedsToPlay(const Counts& counts) {
  if (const char* one = std::getenv("MILLRACE_SEED")) {
    return {.first = std::strtoull(one, nullptr, 10), .count = 1};
  }
  const bool is_long = std::getenv("MILLRACE_LONG") != nullptr && counts.count_long > 0;
  return {.count = is_long ? counts.count_long : counts.count};
}

inline std::string CommandOf(uint64_t seed) {
  const testing::TestInfo* test = testing::UnitTest::GetInstance()->current_test_info();
  return "MILLRACE_SEED=" + std::to_string(seed) + " " + program_invocation_short_name +
         " --gtest_filter=" + test->test_suite_name() + "." + test->name();
}

// Every seed tells nothing; the first that does fails the test.
inline void ExpectHolds(const Counts& counts, const Play& play) {
  const SeedRange seeds = SeedsToPlay(counts);
  for (uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    ASSERT_EQ(play(seed), "") << "seed=" << seed << " again: " << CommandOf(seed);
  }
}

// One of the first `seeds_max` seeds tells something while the variant is on.
inline void ExpectFound([[maybe_unused]] Mutant variant, [[maybe_unused]] uint64_t seeds_max,
                        [[maybe_unused]] const Play& play) {
#if defined(MILLRACE_MUTANTS)
  for (uint64_t seed = 1; seed <= seeds_max; ++seed) {
    active_mutant = variant;
    const std::string wrong = play(seed);
    active_mutant = Mutant::kNone;
    if (wrong.empty()) continue;
    testing::Test::RecordProperty("found_by_seed", static_cast<int>(seed));
    std::cout << NameOf(variant) << " found by seed " << seed << ": " << wrong << "\n";
    return;
  }
  FAIL() << NameOf(variant) << " was not found by seeds 1 to " << seeds_max;
#else
  GTEST_SKIP() << "built without MILLRACE_MUTANTS";
#endif
}

}  // namespace millrace::sim

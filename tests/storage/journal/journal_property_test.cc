// Random lives of a journal under crashes: whatever was acknowledged is there, in the order and at
// the truncation epoch that it was written; and the deliberately broken variants are found.
#include <cstdlib>
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/storage/journal/journal_rig.h"

namespace millrace::storage::journal {
namespace {

// Several lives, each ended by a crash in the middle of some disk operation; "" or what went wrong.
std::string PlayLives(uint64_t seed) {
  JournalRig rig(seed);
  Random& random = rig.random();
  // Small files come back often.
  rig.options().file_bytes = random.OneIn(2) ? 64 << 10 : 16 << 10;
  const uint64_t lives = random.Between(2, 6);
  for (uint64_t life = 0; life < lives; ++life) {
    if (random.OneIn(4)) {
      rig.disk().CrashAtOperation(random.Between(1, 12), [&] { rig.Crash(false); });
    }
    Status started = rig.Start();
    for (int again = 0; started.code() == Code::kAborted && again < 5; ++again) {
      if (random.OneIn(2)) rig.disk().PowerLoss(random);
      started = rig.Start();
    }
    if (!started.ok()) return "could not start: " + started.ToString();
    const std::string wrong = rig.CompareWithModel();
    if (!wrong.empty()) return wrong;
    if (!rig.recovered().damage.empty()) {
      return "took a crash for damage: " + rig.recovered().damage.front().what;
    }
    rig.disk().CrashAtOperation(random.Between(1, 200), [&] { rig.Crash(false); });
    const uint64_t steps = random.Between(1, 150);
    for (uint64_t i = 0; i < steps && rig.is_alive(); ++i) {
      rig.RandomStep();
      if (random.OneIn(3)) rig.RunFor(Duration(static_cast<int64_t>(random.Below(1500))));
      if (rig.is_alive()) rig.journal().CheckInvariants();
      if (!rig.failure().empty()) return "failed: " + rig.failure();
    }
    if (rig.is_alive() && random.OneIn(4)) rig.Settle();
    if (rig.is_alive() && random.OneIn(6)) rig.StopCleanly();
    rig.Crash(!random.OneIn(4));
  }
  return "";
}

uint64_t FirstSeed() {
  const char* text = std::getenv("MILLRACE_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

TEST(JournalProperty, EveryAcknowledgedRecordSurvives_WhenTheMachineDiesAnywhere) {
  const uint64_t first = FirstSeed();
  const uint64_t count = std::getenv("MILLRACE_SEED") == nullptr ? 1500 : 1;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    const std::string wrong = PlayLives(seed);
    ASSERT_EQ(wrong, "") << "seed=" << seed << " rerun: MILLRACE_SEED=" << seed
                         << " tests_storage_journal --gtest_filter=JournalProperty.Every*";
  }
}

TEST(JournalProperty, SameSeed_GivesTheSameRun) { EXPECT_EQ(PlayLives(42), PlayLives(42)); }

class JournalMutants : public testing::TestWithParam<Mutant> {};

TEST_P(JournalMutants, IsFound_WithinAThousandSeeds) {
#if defined(MILLRACE_MUTANTS)
  active_mutant = GetParam();
  uint64_t found = 0;
  for (uint64_t seed = 1; seed <= 1000 && found == 0; ++seed) {
    if (!PlayLives(seed).empty()) found = seed;
  }
  active_mutant = Mutant::kNone;
  EXPECT_NE(found, 0U) << "no seed finds the mutant";
  RecordProperty("found_by_seed", static_cast<int>(found));
  std::cout << "found by seed " << found << "\n";
#else
  GTEST_SKIP() << "built without MILLRACE_MUTANTS";
#endif
}

INSTANTIATE_TEST_SUITE_P(All, JournalMutants,
                         testing::Values(Mutant::kAckBeforeFsync, Mutant::kRecycleBeforeCheckpoint,
                                         Mutant::kIgnoreTruncationEpoch,
                                         Mutant::kConfigurationFromCreation,
                                         Mutant::kSkipDirectorySync));

}  // namespace
}  // namespace millrace::storage::journal

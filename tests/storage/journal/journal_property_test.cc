// Random lives of a journal under crashes: whatever was acknowledged is there, in the order and at
// the truncation epoch that it was written; and the deliberately broken variants are found.
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/storage/journal/journal_rig.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::storage::journal {
namespace {

// Several lives, each ended by a crash in the middle of some disk operation; "" or what went wrong.
std::string PlayLives(uint64_t seed) {
  JournalRig rig(seed);
  Random& random = rig.random();
  const uint64_t lives = random.Between(2, 6);
  for (uint64_t life = 0; life < lives; ++life) {
    // Small files come back often; and an operator may change the setting.
    if (life == 0 || random.OneIn(3)) {
      rig.options().file_bytes = uint64_t{4 << 10} << (2 * random.Below(3));
    }
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

TEST(JournalProperty, EveryAcknowledgedRecordSurvives_WhenTheMachineDiesAnywhere) {
  sim::ExpectHolds({.count = 1500, .count_long = 20'000}, PlayLives);
}

TEST(JournalProperty, SameSeed_GivesTheSameRun) { EXPECT_EQ(PlayLives(42), PlayLives(42)); }

class JournalMutants : public testing::TestWithParam<Mutant> {};

TEST_P(JournalMutants, IsFound_WithinAThousandSeeds) {
  sim::ExpectFound(GetParam(), 1000, PlayLives);
}

INSTANTIATE_TEST_SUITE_P(All, JournalMutants,
                         testing::Values(Mutant::kAckBeforeFsync, Mutant::kRecycleBeforeCheckpoint,
                                         Mutant::kIgnoreTruncationEpoch,
                                         Mutant::kConfigurationFromCreation,
                                         Mutant::kSkipDirectorySync));

}  // namespace
}  // namespace millrace::storage::journal

// Rot: bits flip, sectors vanish, files are cut off or gone. Nothing that was durable is ever
// shorter in silence: a group is as it was, or in doubt, and the damage is named. The journal opens
// all the same.
#include <iostream>
#include <string>

#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/storage/journal/journal_rig.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::storage::journal {
namespace {

// A journal with a few files of everything, all acknowledged, marked, and stopped without a word.
void Fill(JournalRig* rig, uint64_t steps) {
  ASSERT_TRUE(rig->Start().ok());
  for (uint64_t i = 0; i < steps; ++i) {
    rig->RandomStep();
    if (rig->random().OneIn(3)) rig->RunFor(Duration(800));
  }
  rig->Settle();
  rig->RunFor(std::chrono::milliseconds(100));
  rig->Crash(false);
}

std::string Pick(JournalRig* rig) {
  const std::vector<std::string> files = rig->Files();
  return files[rig->random().Below(files.size())];
}

std::string Hurt(JournalRig* rig) {
  Random& random = rig->random();
  const std::string path = Pick(rig);
  const uint64_t size = rig->disk().Content(path)->size();
  const uint64_t at = random.Below(size);
  switch (random.Below(4)) {
    case 0:
      rig->disk().FlipBit(path, at, static_cast<unsigned>(random.Below(8)));
      return "a bit flipped in " + path + " at " + std::to_string(at);
    case 1: {
      const uint64_t sector = at / 512 * 512;
      rig->disk().Overwrite(path, sector, std::string(512, random.OneIn(2) ? '\0' : '\x5A'));
      return "a sector lost in " + path + " at " + std::to_string(sector);
    }
    case 2: {
      // One page: a stretch that takes the last commit together with the marker behind it leaves no
      // trace (docs/formats.md, "Fault model").
      const uint64_t from = at / 4096 * 4096;
      rig->disk().Overwrite(path, from, std::string(std::min<uint64_t>(4096, size - from), '\0'));
      return "a page zeroed in " + path + " from " + std::to_string(from);
    }
    default:
      rig->disk().TruncateFile(path, at);
      return path + " cut off at " + std::to_string(at);
  }
}

// "" or what went wrong.
std::string PlayDamage(uint64_t seed, bool* was_found) {
  JournalRig rig(seed);
  Fill(&rig, rig.random().Between(20, 200));
  const std::string hurt = Hurt(&rig);
  const Status started = rig.Start();
  if (!started.ok()) return hurt + ": could not start: " + started.ToString();
  const std::string wrong = rig.CompareAfterDamage();
  if (!wrong.empty()) return hurt + ": " + wrong;
  *was_found = !rig.recovered().damage.empty();
  // The next start finds the same: what is in doubt stays so, what is not does not become so.
  const uint64_t healthy = rig.healthy_groups();
  const bool lacked_groups = rig.recovered().may_lack_groups;
  rig.RunFor(std::chrono::milliseconds(100));
  rig.PowerLoss();
  const Status again = rig.Start();
  if (!again.ok()) return hurt + ": could not start again: " + again.ToString();
  const std::string still_wrong = rig.CompareAfterDamage();
  if (*was_found && still_wrong == "silent, but no damage is named") return "";
  if (!still_wrong.empty()) return hurt + ", second start: " + still_wrong;
  if (rig.healthy_groups() != healthy) return hurt + ": the second start doubts other groups";
  if (lacked_groups && !rig.recovered().may_lack_groups) {
    return hurt + ": the second start forgot that groups may be missing";
  }
  return "";
}

TEST(JournalDamage, NothingDurableIsShorterInSilence_WhateverRots) {
  uint64_t played = 0;
  uint64_t mattered = 0;
  sim::ExpectHolds({.count = 1500, .count_long = 20'000}, [&](uint64_t seed) {
    bool was_found = false;
    const std::string wrong = PlayDamage(seed, &was_found);
    ++played;
    mattered += was_found ? 1 : 0;
    return wrong;
  });
  std::cout << mattered << " of " << played << " damages hit something that mattered\n";
  if (played > 1) {
    EXPECT_GT(mattered, played / 10);
  }
}

TEST(JournalDamage, CutAtFirstBadChecksum_IsFound) {
  sim::ExpectFound(Mutant::kCutAtFirstBadChecksum, 1000, [](uint64_t seed) {
    bool was_found = false;
    return PlayDamage(seed, &was_found);
  });
}

}  // namespace
}  // namespace millrace::storage::journal

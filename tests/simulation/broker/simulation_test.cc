// Whole brokers under ordinary random seeds: the product must satisfy every rule, and each broken
// variant that belongs to this level must be found.

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/base/mutants.h"
#include "tests/simulation/broker/run.h"
#include "tests/simulation/coverage.h"
#include "tests/simulation/regressions.h"
#include "tests/simulation/seed_budget.h"

namespace millrace::sim {
namespace {

// The least of them reach every state below; the long form of the tests runs fresh ones beside.
constexpr simulation::SeedBudget::Options kCleanSeeds{
    .first = 1, .least = 100, .most = 150, .cpu_seconds = 100};

class SimulationTest : public testing::Test {
 protected:
  void SetUp() override { FLAGS_minloglevel = google::GLOG_FATAL; }
  void TearDown() override { active_mutant = Mutant::kNone; }
};

RunResult ExpectClean(const RunOptions& options) {
  const RunResult result = RunSeed(options);
  std::string found;
  for (const std::string& anomaly : result.anomalies) found += anomaly + "\n";
  EXPECT_TRUE(result.anomalies.empty()) << found << result.swarm << "\nrerun: " << options.Rerun();
  EXPECT_GT(result.acknowledged, 0u) << "rerun: " << options.Rerun();
  return result;
}

TEST_F(SimulationTest, SeedsThatOnceFailed_StayClean) {
  const auto known = RegressionsOf("broker");
  ASSERT_TRUE(known.ok()) << known.status();
  for (const Regression& regression : *known) {
    RunOptions options{.seed = regression.seed};
    for (const std::string& flag : regression.flags) ASSERT_TRUE(options.SetFlag(flag)) << flag;
    ExpectClean(options);
  }
}

TEST_F(SimulationTest, TheFlagsOfARerun_AreReadBack) {
  RunOptions options{.seed = 7};
  for (const char* flag : {"--brokers=1", "--without=kills", "--fail-broker=2", "--fail-call=9",
                           "--fail-with=ENOSPC", "--fail-for-ms=5"}) {
    EXPECT_TRUE(options.SetFlag(flag)) << flag;
  }
  EXPECT_EQ(options.Rerun(),
            "simulate_broker --seed=7 --brokers=1 --without=kills --fail-broker=2 --fail-call=9 "
            "--fail-with=ENOSPC --fail-for-ms=5");
  for (const char* flag : {"--brokers", "--brokers=", "--brokers=x", "--without=rain",
                           "--fail-with=rain", "--mutant=x"}) {
    EXPECT_FALSE(options.SetFlag(flag)) << flag;
  }
}

// The states that seeds must bring about, or they say nothing of them.
constexpr std::string_view kMustBeReached[] = {
    "a broker could not hold its clock against others'",
    "a broker did not believe its clock",
    "a broker died inside a disk operation",
    "a broker died while a journal file was made",
    "a broker died while a journal file was recycled",
    "a broker stood still",
    "a broker stopped as it was told to",
    "a start passed journal files over",
    "a client stood still",
    "a clock jumped or drifted",
    "a commit had no answer",
    "a coordinator began to lead a group with members",
    "a coordinator that was stopped gave its members their time again",
    "a coordinator's request was asked again",
    "a coordinator's shard was restored from a snapshot",
    "a coordinator began to lead a transaction that was decided",
    "a marker was sent again",
    "a producer that was fenced tried to commit",
    "a transaction that was to be committed was aborted",
    "a transaction waited for the one before it to end",
    "a transaction was committed",
    "a transaction was read whole",
    "a member gave up a partition that it was told to",
    "a member had two streams",
    "a member was given a partition",
    "a member was taken out for its silence",
    "a member was taken out for what it did not give up",
    "a member was told that it is none any more",
    "an offset was committed",
    "a clock was hours to days off",
    "a deletion past the end was refused",
    "a deletion was below the log start",
    "a disk stalled",
    "a disk was slow",
    "a damaged segment was repaired from another replica",
    "an entry was found behind a damaged frame",
    "a duplicate waited for its original",
    "a duplicate was answered",
    "a duplicate was answered after a leader change",
    "a file rotted",
    "a follower was caught up from segments",
    "a full disk had room again",
    "a full disk refused to produce",
    "a journal file was used again",
    "a leader fell with proposals in flight",
    "a link was cut one way",
    "a link was slow",
    "a partition was restored from a segment's footer",
    "a producer sent again to a new leader",
    "a producer's stream broke with batches in flight",
    "a read began within a batch",
    "a read below the log start was told where it starts",
    "a read was served from segments",
    "a read was served from the tail",
    "a reader went on where the log starts",
    "a record was looked up behind a log start",
    "a replica applied from its segments at start",
    "a replica was restored from another one",
    "a replica was silent",
    "a refusal was withheld by who no longer led",
    "a read met a damaged segment",
    "a sealed segment rotted",
    "all segments of a broker were scrubbed",
    "a group's segments stalled",
    "a journal file could not be made",
    "a segment was dropped",
    "an entry was made so that the segment before it could go",
    "records expired",
    "the journal waited for a file",
    "a replica that could not be read at start joined later",
    "a group's segments were written again after an error",
    "a segment's file was made anew after an error",
    "a leader refused records as a majority had no room",
    "a leader that could not read its log gave it away",
    "a segment was old enough to be ended",
    "a segment was rolled",
    "a log did not end where a batch was to be stored",
    "a refusal waited for what was in flight",
    "a pass of compaction was done",
    "a pass of compaction ended early",
    "a pass was for tombstones alone",
    "a reader passed over what was compacted",
    "a replica had missed a pass of compaction",
    "a segment was compacted",
    "a tombstone was gone in the end",
    "superseded records were gone in the end",
    "a stalled disk gave up a leadership",
    "a start began at a checkpoint",
    "a start took the last segment by its footer",
    "a topic came back under its old name",
    "a topic was altered",
    "a topic got more partitions",
    "a broker was away when a topic got more partitions",
    "a producer learned of partitions that came",
    "a reader learned of partitions that came",
    "a torn tail of the journal was cut",
    "a write completed after a later truncation",
    "a writer was the first where it saw the log end",
    "all brokers lost power at once",
    "an I/O error ended a broker",
    "an open file made room for another",
    "connections broke",
    "damage in the journal was found",
    "nobody could tell how full a full disk is",
    "the controller was restored from a snapshot",
    "the controller was restored from a snapshot and led afterwards",
    "the journal began a new file",
    "the disks of all brokers were full",
    "the journal waited for segments",
    "the log start moved under a read",
    "two groups met only through a bridge",
    "two or more uncommitted entries were cut",
};

TEST_F(SimulationTest, FixedSeeds_KeepEveryPromise_AndReachEveryState) {
  simulation::SeedBudget budget(kCleanSeeds);
  while (const std::optional<uint64_t> seed = budget.Next()) ExpectClean({.seed = *seed});
  EXPECT_EQ(Unreached(kMustBeReached), "");
}

// A short run without other faults, in which one broker is started twice, again and again: each
// time `step` calls more of its file system succeed before one fails, and all calls that follow
// within `fail_for`. So for each of three brokers. Then everything works again: what was
// acknowledged is there, and no replica is left behind.
void FailEachCall(Duration fail_for, uint64_t step, const std::string& fail_with = "EIO") {
  RunOptions options{.seed = 3, .brokers = 3, .chaos = std::chrono::milliseconds(600)};
  for (const auto& [fault, name] : kFaultClasses) options.without.insert(fault);
  options.fail_for = fail_for;
  options.fail_with = fail_with;
  for (options.fail_broker = 1; options.fail_broker <= options.brokers; ++options.fail_broker) {
    options.fail_call = 0;
    const uint64_t calls = RunSeed(options).calls.at(options.fail_broker - 1);
    ASSERT_GT(calls, 200u);
    for (uint64_t call = 1; call <= calls; call += step) {
      options.fail_call = call;
      EXPECT_NE(ExpectClean(options).failed_call, "") << "rerun: " << options.Rerun();
    }
  }
}

TEST_F(SimulationTest, TheNthFileSystemCall_MayFail) { FailEachCall(Duration(0), 1); }

TEST_F(SimulationTest, TheNthFileSystemCall_MayFindNoRoom) {
  FailEachCall(Duration(0), 5, "ENOSPC");
}

TEST_F(SimulationTest, TheNthFileSystemCall_MayFindTooFewDescriptors) {
  FailEachCall(Duration(0), 9, "EMFILE");
}

TEST_F(SimulationTest, FromTheNthFileSystemCallOn_AllMayFailForASecond) {
  FailEachCall(std::chrono::seconds(1), 7);
}

// Files go and are made anew all the while. Seeds of other faults beside these have fewer cuts.
TEST_F(SimulationTest, PowerCuts_WhileRecordsGoAndAreCompacted_LoseNothing) {
  const uint64_t cuts = std::getenv("MILLRACE_LONG") != nullptr ? 1000 : 50;
  const std::set<FaultClass> on = {FaultClass::kPowerLoss, FaultClass::kRetention,
                                   FaultClass::kDeletions, FaultClass::kCompaction};
  RunOptions options;
  for (const auto& [fault, name] : kFaultClasses) {
    if (!on.contains(fault)) options.without.insert(fault);
  }
  uint64_t lost = 0;
  for (options.seed = 1; lost < cuts; ++options.seed) {
    ASSERT_LT(options.seed, 20 * cuts);
    const Swarm swarm = Swarm::Draw(options.seed, options.brokers, options.without);
    const bool has_all = swarm.Has(FaultClass::kPowerLoss) && swarm.MayLoseRecords() &&
                         swarm.Has(FaultClass::kCompaction);
    if (has_all) lost += ExpectClean(options).power_losses;
  }
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

// What a variant breaks may be used by one class alone: then no other seed can find it.
std::optional<FaultClass> ClassOf(Mutant mutant) {
  constexpr std::pair<Mutant, FaultClass> kClasses[] = {
      {Mutant::kConditionBeforeSequence, FaultClass::kContests},
      {Mutant::kAssignBeforeRelease, FaultClass::kMembers},
      {Mutant::kCommitIgnoresAssignedEpoch, FaultClass::kMembers},
      {Mutant::kConfirmIsDelta, FaultClass::kMembers},
      {Mutant::kTwoSessions, FaultClass::kMembers},
      {Mutant::kCommitsWhatIsFetched, FaultClass::kReaders},
      {Mutant::kEndWithoutNumber, FaultClass::kTransactions},
      {Mutant::kPrepareNotDurable, FaultClass::kTransactions},
      {Mutant::kAppendBeforeRegister, FaultClass::kTransactions},
      {Mutant::kMarkerEndsWhateverIsOpen, FaultClass::kTransactions},
      {Mutant::kLsoFromHighWatermark, FaultClass::kTransactions},
      {Mutant::kVoidRangeLostAtRoll, FaultClass::kTransactions},
      {Mutant::kStagedVisibleEarly, FaultClass::kCopiers},
      {Mutant::kStageIgnoresMemberEpoch, FaultClass::kCopiers},
  };
  for (const auto& [known, needed] : kClasses) {
    if (known == mutant) return needed;
  }
  return std::nullopt;
}

// The seed that found it last, to be tried first: a hint, as another one may find it tomorrow. It
// may lie behind those that are searched.
std::optional<uint64_t> HintFor(Mutant mutant) {
  constexpr std::pair<Mutant, uint64_t> kHints[] = {
      {Mutant::kUnlinkBeforeBegin, 117},      {Mutant::kPrepareNotDurable, 69},
      {Mutant::kStageIgnoresMemberEpoch, 45}, {Mutant::kTwoSessions, 51},
      {Mutant::kSnapshotWithoutState, 24},    {Mutant::kOffsetsFromMemory, 17},
      {Mutant::kPulledFromMemory, 302},       {Mutant::kConditionBeforeSequence, 13},
      {Mutant::kCommitsWhatIsFetched, 13},    {Mutant::kMarkerEndsWhateverIsOpen, 13},
      {Mutant::kVoidRangeLostAtRoll, 11},     {Mutant::kStagedVisibleEarly, 11},
  };
  for (const auto& [known, seed] : kHints) {
    if (known == mutant) return seed;
  }
  return std::nullopt;
}

// 1 to `max`, in the order in which they are tried.
std::vector<uint64_t> SeedsFor(Mutant mutant, uint64_t max) {
  std::vector<uint64_t> seeds;
  const std::optional<uint64_t> hint = HintFor(mutant);
  if (hint.has_value()) seeds.push_back(*hint);
  for (uint64_t seed = 1; seed <= max; ++seed) {
    if (seed != hint) seeds.push_back(seed);
  }
  return seeds;
}

// All of these classes but the contests need a coordinator.
bool CanFind(Mutant mutant, uint64_t seed) {
  const std::optional<FaultClass> needed = ClassOf(mutant);
  if (!needed.has_value()) return true;
  const Swarm swarm = Swarm::Draw(seed, /*brokers=*/0, /*without=*/{});
  return swarm.Has(*needed) && (*needed == FaultClass::kContests || swarm.coordinator_shards > 0);
}

class BrokenVariant : public SimulationTest, public testing::WithParamInterface<Mutant> {};

TEST_P(BrokenVariant, IsFound_WithinABoundedNumberOfSeeds) {
  constexpr uint64_t kSeedsMax = 200;
  GTEST_FLAG_SET(death_test_style, "fast");
  active_mutant = GetParam();
  for (const uint64_t seed : SeedsFor(GetParam(), kSeedsMax)) {
    if (!CanFind(GetParam(), seed) || !IsFoundBySeed(seed)) continue;
    RecordProperty("found_by_seed", static_cast<int>(seed));
    active_mutant = Mutant::kNone;
    EXPECT_FALSE(IsFoundBySeed(seed)) << "seed " << seed << " fails without the variant too";
    std::cout << NameOf(GetParam()) << " found by seed " << seed << std::endl;
    return;
  }
  FAIL() << NameOf(GetParam()) << " was not found by seeds 1 to " << kSeedsMax;
}

INSTANTIATE_TEST_SUITE_P(
    WholeBrokers, BrokenVariant,
    testing::Values(Mutant::kAckBeforeFsync, Mutant::kSequencesLostOnLeaderChange,
                    Mutant::kFetchServesUncommitted, Mutant::kProducersLostAtRestore,
                    Mutant::kRetriesFailedSync, Mutant::kRetriesFailedSegmentSync,
                    Mutant::kPassingErrorIsDamage, Mutant::kClientTakesSentForStored,
                    Mutant::kSnapshotWithoutState, Mutant::kExtentNamedBeforeSynced,
                    Mutant::kExtentOverwritesLive, Mutant::kUnlinkBeforeBegin,
                    Mutant::kStateGoesWithItsLog, Mutant::kReadSkipsDropped,
                    Mutant::kLogStartGoesBack, Mutant::kRetentionTrustsOwnClock,
                    Mutant::kGapForgetsSpan, Mutant::kDeltaIgnored, Mutant::kKeysSupersededByChance,
                    Mutant::kCheckpointStateAhead, Mutant::kPulledFromMemory,
                    Mutant::kConditionBeforeSequence, Mutant::kOffsetsFromMemory,
                    Mutant::kSnapshotDropsAGroup, Mutant::kCommitAnsweredTooSoon,
                    Mutant::kAssignBeforeRelease, Mutant::kCommitIgnoresAssignedEpoch,
                    Mutant::kConfirmIsDelta, Mutant::kTwoSessions, Mutant::kCommitsWhatIsFetched,
                    Mutant::kEndWithoutNumber, Mutant::kPrepareNotDurable,
                    Mutant::kAppendBeforeRegister, Mutant::kMarkerEndsWhateverIsOpen,
                    Mutant::kLsoFromHighWatermark, Mutant::kVoidRangeLostAtRoll,
                    Mutant::kStagedVisibleEarly, Mutant::kStageIgnoresMemberEpoch),
    [](const auto& variant) { return std::string(NameOf(variant.param)); });

}  // namespace
}  // namespace millrace::sim

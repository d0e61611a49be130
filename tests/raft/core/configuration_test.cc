// Which configurations may stand in a log, and which may follow which (Raft §6, thesis §4).

#include "raft/core/configuration.h"

#include <iostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "raft/core/quorum.h"
#include "raft/runtime/random.h"
#include "tests/raft/core/lab.h"

namespace millrace::raft::core {
namespace {

// "1,2|1,2,3|4": voters, outgoing voters, learners; as they stand, not sorted.
Configuration Of(const std::string& text) {
  Configuration configuration;
  std::vector<Voter>* const lists[] = {&configuration.voters, &configuration.outgoing,
                                       &configuration.learners};
  size_t at = 0;
  for (const std::string& list : Split(text, '|')) {
    for (const std::string& name : Split(list, ',')) lists[at]->push_back(VoterNamed(name));
    ++at;
  }
  return configuration;
}

TEST(ConfigurationTest, WhatMayStandInALog) {
  EXPECT_TRUE(CheckConfiguration(Of("1")).ok());
  EXPECT_TRUE(CheckConfiguration(Of("1,2,3|2,3,4|5")).ok());
  EXPECT_TRUE(CheckConfiguration(Of("1,2|1,2,3|3")).ok());  // 3 stays on as a learner
  EXPECT_TRUE(CheckConfiguration(Of("1#2,2|1#1,2")).ok());  // one broker's next replica
  for (const char* bad : {"", "|1,2", "||1", "1,1", "1.1,1.2", "1#1,1#2", "1#16777216", "2,1",
                          "0,1", "1,2|3,3", "1|2,1", "1,2||2", "1||2,2", "1||3,2"}) {
    const Status refused = CheckConfiguration(Of(bad));
    EXPECT_EQ(refused.code(), Code::kInvalidArgument) << bad << " " << refused;
  }
}

struct ChangeRow {
  const char* now;
  const char* next;
  bool is_allowed;
};

TEST(ConfigurationTest, WhatMayFollowWhat) {
  const std::vector<ChangeRow> rows = {
      {"1,2,3", "1,2,3", true},
      // One voter comes or goes; learners as they like.
      {"1,2,3", "1,2,3,4", true},
      {"1,2,3", "1,2", true},
      {"1,2,3", "1,2||3,4,5", true},
      {"1,2,3||4", "1,2,3,4", true},
      // A broker on another disk is another voter.
      {"1,2,3", "1,2,3.2", false},
      {"1,2,3", "1,2,4", false},
      {"1,2,3", "1,4,5", false},
      {"1,2,3", "1", false},
      // Into a joint configuration, from what is in force.
      {"1,2,3", "1,4,5|1,2,3", true},
      {"1,2,3", "4|1,2,3|1,2", true},
      {"1,2,3", "1,4,5|1,2", false},
      {"1,2,3", "1,2,3|1,4,5", false},
      // And out of it, into its own incoming half.
      {"1,4,5|1,2,3", "1,4,5", true},
      {"1,4,5|1,2,3|6", "1,4,5||6", true},
      {"1,4,5|1,2,3", "1,4,5||2", false},
      {"1,4,5|1,2,3", "1,2,3", false},
      {"1,4,5|1,2,3", "1,4", false},
      {"1,4,5|1,2,3", "1,4,5|1,2,3", false},
      {"1,4,5|1,2,3", "6,7|1,4,5", false},
  };
  for (const ChangeRow& row : rows) {
    const Status allowed = CheckChange(Of(row.now), Of(row.next));
    const Code expected = row.is_allowed ? Code::kOk : Code::kFailedPrecondition;
    EXPECT_EQ(allowed.code(), expected) << row.now << " to " << row.next << " " << allowed;
  }
}

std::vector<Voter> DrawVoters(Random* random) {
  std::vector<Voter> voters;
  for (uint32_t id = 1; id <= 5; ++id) {
    if (random->OneIn(2)) voters.push_back(VoterNamed(std::to_string(id)));
  }
  return voters;
}

// Why there is a rule at all: no two sets of brokers that do not meet can be majorities of what is
// in force before and after a change that is allowed.
TEST(ConfigurationTest, MajoritiesMeet_AcrossAnyAllowedChange) {
  constexpr uint64_t kSeed = 3;
  std::cout << "seed=" << kSeed << "\n";
  Random random(kSeed);
  int allowed = 0;
  for (int draw = 0; draw < 20'000; ++draw) {
    const Configuration now{
        .voters = DrawVoters(&random),
        .outgoing = random.OneIn(2) ? DrawVoters(&random) : std::vector<Voter>(),
        .learners = {}};
    Configuration next{.voters = random.OneIn(3) ? now.voters : DrawVoters(&random),
                       .outgoing = {},
                       .learners = {}};
    if (random.OneIn(2)) next.outgoing = random.OneIn(2) ? now.voters : DrawVoters(&random);
    if (!CheckConfiguration(now).ok() || !CheckChange(now, next).ok()) continue;
    ++allowed;
    for (uint32_t side = 0; side < 32; ++side) {
      const auto is_here = [side](const Voter& who) {
        return (side >> (who.broker.value() - 1) & 1) != 0;
      };
      const bool can_decide = HasQuorum(now, is_here);
      const bool can_others_decide =
          HasQuorum(next, [&](const Voter& voter) { return !is_here(voter); });
      EXPECT_FALSE(can_decide && can_others_decide) << "draw=" << draw << " side=" << side;
    }
  }
  EXPECT_GT(allowed, 1'000);
}

}  // namespace
}  // namespace millrace::raft::core

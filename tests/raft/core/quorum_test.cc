// The arithmetic of majorities against a naive model: an index is held by a quorum if a majority of
// each set of voters, counted one by one, has reached it.

#include "raft/core/quorum.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"

namespace millrace::raft::core {
namespace {

Voter MakeVoter(uint64_t id) {
  return {.broker = BrokerId(static_cast<uint32_t>(id)), .incarnation = Incarnation(1)};
}

std::vector<Voter> DrawVoters(Random* random, uint64_t count_min) {
  std::vector<Voter> voters;
  const uint64_t wanted = random->Between(count_min, 7);
  for (uint64_t id = 1; id <= 9 && voters.size() < wanted; ++id) {
    if (random->OneIn(2)) voters.push_back(MakeVoter(id));
  }
  return voters;
}

Configuration DrawConfiguration(Random* random) {
  Configuration configuration{.voters = DrawVoters(random, 1), .outgoing = {}, .learners = {}};
  if (configuration.voters.empty()) configuration.voters.push_back(MakeVoter(1));
  if (random->OneIn(2)) configuration.outgoing = DrawVoters(random, 1);
  return configuration;
}

template <typename Predicate>
bool MajorityOf(const std::vector<Voter>& voters, Predicate holds) {
  const auto count = static_cast<size_t>(std::count_if(voters.begin(), voters.end(), holds));
  return voters.empty() || count > voters.size() - count;
}

template <typename Predicate>
bool NaiveQuorum(const Configuration& configuration, Predicate holds) {
  return MajorityOf(configuration.voters, holds) && MajorityOf(configuration.outgoing, holds);
}

constexpr uint64_t kSeed = 20240607;
constexpr int kRounds = 20'000;

TEST(QuorumIndexTest, EqualsNaiveModel_ForSimpleAndJointConfigurations) {
  std::cout << "seed=" << kSeed << "\n";
  Random random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    const Configuration configuration = DrawConfiguration(&random);
    std::map<Voter, LogIndex> match;
    for (const Voter& voter : configuration.Members()) match[voter] = LogIndex(random.Below(12));
    uint64_t expected = 0;
    for (uint64_t index = 1; index < 12; ++index) {
      const bool is_held = NaiveQuorum(
          configuration, [&](const Voter& voter) { return match[voter] >= LogIndex(index); });
      if (is_held) expected = index;
    }
    ASSERT_EQ(QuorumIndex(configuration, [&](const Voter& voter) { return match[voter]; }),
              LogIndex(expected))
        << "round=" << round;
  }
}

TEST(CountVotesTest, EqualsNaiveModel_ForSimpleAndJointConfigurations) {
  std::cout << "seed=" << kSeed << "\n";
  Random random(kSeed);
  for (int round = 0; round < kRounds; ++round) {
    const Configuration configuration = DrawConfiguration(&random);
    std::map<Voter, Ballot> ballots;
    for (const Voter& voter : configuration.Members()) {
      ballots[voter] = static_cast<Ballot>(random.Below(3));
    }
    const bool is_won = NaiveQuorum(
        configuration, [&](const Voter& voter) { return ballots[voter] == Ballot::kGranted; });
    // Still to be won if all that are missing came in granted.
    const bool can_be_won = NaiveQuorum(
        configuration, [&](const Voter& voter) { return ballots[voter] != Ballot::kRejected; });
    const VoteResult expected = is_won       ? VoteResult::kWon
                                : can_be_won ? VoteResult::kPending
                                             : VoteResult::kLost;
    ASSERT_EQ(CountVotes(configuration, [&](const Voter& voter) { return ballots[voter]; }),
              expected)
        << "round=" << round;
  }
}

TEST(HasQuorumTest, TwoQuorumsOfOneConfiguration_AlwaysShareAVoter) {
  Random random(kSeed);
  for (int round = 0; round < 2'000; ++round) {
    const Configuration configuration = DrawConfiguration(&random);
    const uint64_t one = random.Next();
    const auto in_one = [&](const Voter& voter) { return (one >> voter.broker.value() & 1) != 0; };
    const auto in_rest = [&](const Voter& voter) { return !in_one(voter); };
    ASSERT_FALSE(HasQuorum(configuration, in_one) && HasQuorum(configuration, in_rest));
  }
}

TEST(HasQuorumTest, AnotherIncarnationOfABroker_IsAnotherVoter) {
  const Configuration configuration{
      .voters = {MakeVoter(1), MakeVoter(2), MakeVoter(3)}, .outgoing = {}, .learners = {}};
  const Voter wiped{.broker = BrokerId(2), .incarnation = Incarnation(2)};
  EXPECT_FALSE(configuration.IsVoter(wiped));
  EXPECT_FALSE(HasQuorum(
      configuration, [&](const Voter& voter) { return voter == wiped || voter == MakeVoter(1); }));
}

}  // namespace
}  // namespace millrace::raft::core

#include "raft/core/quorum.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace millrace::raft::core {
namespace {

LogIndex MajorityIndex(const std::vector<Voter>& voters,
                       const std::function<LogIndex(const Voter&)>& match) {
  if (voters.empty()) return LogIndex(std::numeric_limits<uint64_t>::max());
  std::vector<LogIndex> indexes;
  indexes.reserve(voters.size());
  for (const Voter& voter : voters) indexes.push_back(match(voter));
  // In descending order, n / 2 + 1 voters have reached what stands at position n / 2.
  const auto middle = indexes.begin() + static_cast<std::ptrdiff_t>(voters.size() / 2);
  std::nth_element(indexes.begin(), middle, indexes.end(), std::greater<>());
  return *middle;
}

VoteResult MajorityVote(const std::vector<Voter>& voters,
                        const std::function<Ballot(const Voter&)>& ballot) {
  const size_t needed = voters.empty() ? 0 : voters.size() / 2 + 1;
  size_t granted = 0;
  size_t missing = 0;
  for (const Voter& voter : voters) {
    granted += ballot(voter) == Ballot::kGranted ? 1 : 0;
    missing += ballot(voter) == Ballot::kMissing ? 1 : 0;
  }
  if (granted >= needed) return VoteResult::kWon;
  return granted + missing >= needed ? VoteResult::kPending : VoteResult::kLost;
}

}  // namespace

LogIndex QuorumIndex(const Configuration& configuration,
                     const std::function<LogIndex(const Voter&)>& match) {
  return std::min(MajorityIndex(configuration.voters, match),
                  MajorityIndex(configuration.outgoing, match));
}

VoteResult CountVotes(const Configuration& configuration,
                      const std::function<Ballot(const Voter&)>& ballot) {
  const VoteResult incoming = MajorityVote(configuration.voters, ballot);
  const VoteResult outgoing = MajorityVote(configuration.outgoing, ballot);
  if (incoming == outgoing) return incoming;
  if (incoming == VoteResult::kLost || outgoing == VoteResult::kLost) return VoteResult::kLost;
  return VoteResult::kPending;
}

bool HasQuorum(const Configuration& configuration,
               const std::function<bool(const Voter&)>& is_active) {
  return CountVotes(configuration, [&](const Voter& voter) {
           return is_active(voter) ? Ballot::kGranted : Ballot::kRejected;
         }) == VoteResult::kWon;
}

}  // namespace millrace::raft::core

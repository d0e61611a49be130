// The arithmetic of majorities, of simple and joint configurations (Raft §6): pure functions over
// who answered what.
//
//   LogIndex committed = QuorumIndex(configuration, [&](const Voter& v) { return match_of(v); });
#pragma once

#include <functional>

#include "proto/base/ids.h"
#include "raft/core/configuration.h"

namespace millrace::raft::core {

// The largest index that a majority of each set of voters has reached; the maximum if there are
// none.
LogIndex QuorumIndex(const Configuration& configuration,
                     const std::function<LogIndex(const Voter&)>& match);

enum class VoteResult : uint8_t { kPending, kWon, kLost };

enum class Ballot : uint8_t { kMissing, kGranted, kRejected };

// Whether the votes so far decide an election.
VoteResult CountVotes(const Configuration& configuration,
                      const std::function<Ballot(const Voter&)>& ballot);

// Whether a majority of each set of voters satisfies `is_active`.
bool HasQuorum(const Configuration& configuration,
               const std::function<bool(const Voter&)>& is_active);

}  // namespace millrace::raft::core

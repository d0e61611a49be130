// The broken variants that belong to this level.
//
// Values; any thread.
#pragma once

#include "proto/base/mutants.h"

namespace millrace::simulation::core {

inline constexpr Mutant kCoreMutants[] = {
    Mutant::kFollowerAcknowledgesUnsynced,
    Mutant::kVoteNotPersisted,
    Mutant::kLeaderCountsUnsyncedSelf,
    Mutant::kCommitOlderTerm,
    Mutant::kTruncateMatchingTail,
    Mutant::kLateCompletionMarksRewritten,
    Mutant::kVoteIgnoresLog,
    Mutant::kLeaderKeepsTalkingWithoutQuorum,
    Mutant::kLostWindowIsNeverProbed,
    Mutant::kReadWithoutRound,
    Mutant::kVoteTwice,
    Mutant::kHeartbeatCommitsUnmatched,
    Mutant::kSkipsLogMatching,
};

}  // namespace millrace::simulation::core

// The broken variants that belong to this level, by name.
//
// Values; any thread.
#pragma once

#include <optional>
#include <string_view>
#include <utility>

#include "proto/base/mutants.h"

namespace millrace::simulation::core {

inline constexpr std::pair<std::string_view, Mutant> kCoreMutants[] = {
    {"AcknowledgeBeforeFsync", Mutant::kAcknowledgeBeforeFsync},
    {"VoteNotPersisted", Mutant::kVoteNotPersisted},
    {"LeaderCountsUnsyncedSelf", Mutant::kLeaderCountsUnsyncedSelf},
    {"CommitOlderTerm", Mutant::kCommitOlderTerm},
    {"TruncateMatchingTail", Mutant::kTruncateMatchingTail},
    {"LateCompletionMarksRewritten", Mutant::kLateCompletionMarksRewritten},
    {"VoteIgnoresLog", Mutant::kVoteIgnoresLog},
    {"LeaderKeepsTalkingWithoutQuorum", Mutant::kLeaderKeepsTalkingWithoutQuorum},
    {"LostWindowIsNeverProbed", Mutant::kLostWindowIsNeverProbed},
    {"ReadWithoutRound", Mutant::kReadWithoutRound},
};

inline std::optional<Mutant> CoreMutantNamed(std::string_view name) {
  for (const auto& [known, mutant] : kCoreMutants) {
    if (known == name) return mutant;
  }
  return std::nullopt;
}

}  // namespace millrace::simulation::core

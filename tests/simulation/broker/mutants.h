// The broken variants that the whole-broker simulator must find, by name.
//
// Values; set before a run.
#pragma once

#include <string_view>
#include <utility>

#include "proto/base/mutants.h"

namespace millrace::sim {

inline constexpr std::pair<std::string_view, Mutant> kBrokerMutants[] = {
    {"JournalSkipsSync", Mutant::kJournalSkipsSync},
    {"SequencesLostOnLeaderChange", Mutant::kSequencesLostOnLeaderChange},
    {"AcknowledgeBeforeFsync", Mutant::kAcknowledgeBeforeFsync},
    {"IgnoreTruncationEpoch", Mutant::kIgnoreTruncationEpoch},
    {"SkipDirectorySync", Mutant::kSkipDirectorySync},
    {"RecycleBeforeCheckpoint", Mutant::kRecycleBeforeCheckpoint},
    {"CutAtFirstBadChecksum", Mutant::kCutAtFirstBadChecksum},
};

// Turns the named variant on for the process; false if there is none.
inline bool SetBrokerMutant(std::string_view name) {
  for (const auto& [known, mutant] : kBrokerMutants) {
    if (known != name) continue;
    active_mutant = mutant;
    return true;
  }
  return false;
}

}  // namespace millrace::sim

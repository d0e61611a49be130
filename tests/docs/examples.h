// The worked examples of docs/formats.md, as the software writes them: one small topic's first
// batch, and where it lies.
//
// For tests; pure.
#pragma once

#include <map>
#include <string>

#include "proto/base/ids.h"
#include "tests/docs/dump.h"

namespace millrace::docs {

inline constexpr TopicPartition kPartition{TopicId(1000), PartitionId(1)};
inline constexpr RaftGroupId kGroup{7};
inline constexpr uint64_t kJournalKey = 0x2468ACE013579BDF;
inline constexpr uint32_t kLeaderEpochBase = 15'000'000;
inline constexpr uint64_t kJournalFileBytes = 1 << 20;
inline constexpr Voter kVoter{BrokerId(2), Incarnation(0x1122334455667788), ReplicaNumber(3)};

// By the name that the page has for each.
std::map<std::string, Dump> MakeExamples();

}  // namespace millrace::docs

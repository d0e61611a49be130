// Finds what must not be in a history, by the names and rules of Jepsen's Kafka workload
// (jepsen.tests.kafka), with some of our own. Pure; n log n in the history's length.
//
// One caller at a time; keeps nothing between calls.
//
//   ASSIGN_OR_RETURN(Verdict verdict, Check(history));
//   if (!verdict.is_good()) std::cerr << verdict.Text();
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/status.h"
#include "tests/checker/history.h"

namespace millrace::checker {

// docs/testing.md says what each means.
enum class Anomaly {
  kInconsistentOffsets,
  kDuplicate,
  kLostWrite,
  kUnseen,
  kAbortedRead,  // Jepsen's G1a
  kInternalPollSkip,
  kInternalNonmonotonicPoll,
  kPollSkip,
  kNonmonotonicPoll,
  kInternalNonmonotonicSend,
  kNonmonotonicSend,
  // Ours.
  kPhantom,
  kCorrupt,
  kRetryOffset,
  kAppendRealtimeOrder,
  kHighWatermarkRegress,
  kOffsetGap,
  kLogStartRegress,
  kLogStartAhead,
  kReadBelowStart,
};

// "inconsistent-offsets" and so on.
std::string_view AnomalyName(Anomaly anomaly);

struct Finding {
  uint64_t count = 0;
  std::vector<std::string> examples;  // the first of them
};

struct Verdict {
  std::map<Anomaly, Finding> findings;
  uint64_t sent = 0;          // values
  uint64_t acknowledged = 0;  // values
  uint64_t read = 0;          // reads, of a value or not

  bool is_good() const { return findings.empty(); }
  // A line with the counts, then one per anomaly with its examples below it.
  std::string Text() const;
};

// INVALID_ARGUMENT for a history that cannot be: a value sent twice to a key, or anything completed
// without having been invoked.
Result<Verdict> Check(const History& history);

}  // namespace millrace::checker

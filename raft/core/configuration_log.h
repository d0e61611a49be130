// The configurations that a log holds, as the latest one is in force whether it is committed or not
// (Raft thesis §4.1): the one at the tail's lower edge, then those in the tail. A truncation brings
// back the one before. Also which replica of a broker is its latest, as far as a replica can tell.
//
// Part of Raft, on the shard's thread. Pure.
//
//   configurations.Append(entry.index, *entry.configuration);
//   configurations.TruncateFrom(index);
//   HasQuorum(configurations.latest(), ...);
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/log.h"

namespace millrace::raft::core {

class ConfigurationLog {
 public:
  // `at_edge` is in force at the lower edge of the log's tail.
  ConfigurationLog(Configuration at_edge, const Log& log);

  const Configuration& latest() const { return entries_.back().configuration; }
  LogIndex latest_index() const { return entries_.back().index; }
  // The newest one at or before `index`, and the entry that says so. Pre: index is not below the
  // tail's lower edge.
  std::pair<LogIndex, Configuration> InForceAt(LogIndex index) const;

  // Pre: `index` is beyond all before it.
  void Append(LogIndex index, Configuration configuration);
  // The log's entries from `from` on are gone. Pre: `from` is in the tail.
  void TruncateFrom(LogIndex from);
  // The tail begins after `index`.
  void TrimTo(LogIndex index);
  // Whether `next` may follow now: one change at a time, each a single step (CheckChange).
  // FAILED_PRECONDITION, INVALID_ARGUMENT.
  Status CheckMayAppend(const Configuration& next, LogIndex commit_index) const;

  // Notes that `replica` speaks; whether a later one of its broker is known. A message that a
  // former life of a replica sent may come late: what that one promised must not count for its
  // successor, nor what it asks disturb anybody.
  bool IsSuperseded(const Voter& replica);

  // `edge`: of the log's tail.
  void CheckInvariants(LogIndex edge) const;

 private:
  struct At {
    LogIndex index;
    Configuration configuration;
  };
  // A few; looked through for every message.
  struct LatestNumber {
    BrokerId broker;
    ReplicaNumber heard{};  // that has spoken
    ReplicaNumber known{};  // that, or a later one that a configuration here names
  };

  LatestNumber& LatestOf(BrokerId broker);
  void NoteNumbers();

  std::deque<At> entries_;
  std::vector<LatestNumber> latest_;  // of brokers that are members, or spoke
};

}  // namespace millrace::raft::core

#include "raft/core/configuration_log.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::core {

ConfigurationLog::ConfigurationLog(Configuration at_edge, const Log& log) {
  entries_.push_back({LogIndex(), std::move(at_edge)});
  for (LogIndex at = log.prefix().index + 1; at <= log.last_index(); ++at) {
    const Entry& entry = log.At(at);
    if (entry.configuration) entries_.push_back({at, *entry.configuration});
  }
  NoteNumbers();
}

void ConfigurationLog::Append(LogIndex index, Configuration configuration) {
  CHECK_GT(index, latest_index());
  entries_.push_back({index, std::move(configuration)});
  NoteNumbers();
}

std::pair<LogIndex, Configuration> ConfigurationLog::InForceAt(LogIndex index) const {
  CHECK_LE(entries_.front().index, index);
  auto at = std::prev(entries_.end());
  while (at->index > index) --at;
  return {at->index, at->configuration};
}

void ConfigurationLog::TruncateFrom(LogIndex from) {
  while (latest_index() >= from) entries_.pop_back();
  NoteNumbers();
}

void ConfigurationLog::TrimTo(LogIndex index) {
  // The last one at or below the edge is the only one of them that is in force in the tail.
  while (entries_.size() > 1 && entries_[1].index <= index) entries_.pop_front();
}

Status ConfigurationLog::CheckMayAppend(const Configuration& next, LogIndex commit_index) const {
  if (latest_index() > commit_index) {
    return FailedPrecondition("another configuration change is under way");
  }
  return CheckChange(latest(), next);
}

bool ConfigurationLog::IsSuperseded(const Voter& replica) {
  LatestNumber& latest = LatestOf(replica.broker);
  if (replica.number > latest.heard) {
    latest.heard = replica.number;
    latest.known = std::max(latest.known, replica.number);
  }
  return replica.number < latest.known;
}

ConfigurationLog::LatestNumber& ConfigurationLog::LatestOf(BrokerId broker) {
  const auto found = std::ranges::find(latest_, broker, &LatestNumber::broker);
  return found != latest_.end() ? *found : latest_.emplace_back(LatestNumber{.broker = broker});
}

// What only a configuration told is forgotten with it.
void ConfigurationLog::NoteNumbers() {
  for (LatestNumber& latest : latest_) latest.known = latest.heard;
  for (const At& at : entries_) {
    for (const Voter& member : at.configuration.Members()) {
      ReplicaNumber& known = LatestOf(member.broker).known;
      known = std::max(known, member.number);
    }
  }
}

void ConfigurationLog::CheckInvariants(LogIndex edge) const {
  CHECK(!entries_.empty());
  CHECK_LE(entries_.front().index, edge);
}

}  // namespace millrace::raft::core

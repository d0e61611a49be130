#include "broker/coordinator/partition_ends.h"

#include <utility>

namespace millrace::broker {
namespace {

// Half a dozen MiB; asking again costs a round trip.
constexpr size_t kHeardMax = 100'000;

}  // namespace

bool PartitionEnds::Reaches(RaftGroupId group, Offset offset) const {
  if (offset <= environment_.applied_here(group).value_or(Offset())) return true;
  const auto heard = heard_.find(group);
  return heard != heard_.end() && offset <= heard->second;
}

void PartitionEnds::Ask(RaftGroupId group, Done done) {
  if (const auto asked = asked_.find(group); asked != asked_.end()) {
    asked->second.next.push_back(std::move(done));
    return;
  }
  std::vector<Done> waiting;
  waiting.push_back(std::move(done));
  AskLeader(group, std::move(waiting));
}

void PartitionEnds::AskLeader(RaftGroupId group, std::vector<Done> waiting) {
  asked_[group].now = std::move(waiting);
  environment_.ask(group, [this, group](const Result<Offset>& end) { OnAnswer(group, end); });
}

void PartitionEnds::OnAnswer(RaftGroupId group, const Result<Offset>& end) {
  auto asked = asked_.extract(group);
  if (asked.empty()) return;
  if (end.ok()) {
    if (heard_.size() >= kHeardMax) heard_.clear();
    heard_[group] = *end;
  }
  if (!asked.mapped().next.empty()) AskLeader(group, std::move(asked.mapped().next));
  for (Done& done : asked.mapped().now) done(end);
}

}  // namespace millrace::broker

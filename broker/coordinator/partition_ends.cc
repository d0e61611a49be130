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
  std::vector<Done>& waiting = asked_[group];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  environment_.ask(group, [this, group](const Result<Offset>& end) { OnAnswer(group, end); });
}

void PartitionEnds::OnAnswer(RaftGroupId group, const Result<Offset>& end) {
  auto asked = asked_.extract(group);
  if (asked.empty()) return;
  if (end.ok()) {
    if (heard_.size() >= kHeardMax) heard_.clear();
    heard_[group] = *end;
  }
  for (Done& done : asked.mapped()) done(end);
}

}  // namespace millrace::broker

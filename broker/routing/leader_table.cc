#include "broker/routing/leader_table.h"

#include <utility>

namespace millrace::broker {

void LeaderTable::Report(RaftGroupId group, const LeaderHint& hint) {
  LeaderHint& known = hints_[group];
  if (hint.term < known.term || known == hint) return;
  known = hint;
  NotifyChanged();
}

void LeaderTable::Lost(RaftGroupId group, Term term) {
  auto found = hints_.find(group);
  if (found == hints_.end() || found->second.term > term) return;
  if (found->second.leader == BrokerId()) return;
  found->second.leader = BrokerId();
  NotifyChanged();
}

void LeaderTable::BrokerGone(BrokerId broker) {
  bool changed = false;
  for (auto& [group, hint] : hints_) {
    if (hint.leader != broker) continue;
    hint.leader = BrokerId();
    changed = true;
  }
  if (changed) NotifyChanged();
}

LeaderHint LeaderTable::Find(RaftGroupId group) const {
  auto found = hints_.find(group);
  return found == hints_.end() ? LeaderHint{} : found->second;
}

void LeaderTable::NotifyChanged() {
  for (auto& [id, listener] : std::exchange(listeners_, {})) listener();
}

}  // namespace millrace::broker

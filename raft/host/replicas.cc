#include "raft/host/replicas.h"

#include <string>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft {

Replica* Replicas::Find(RaftGroupId group) const {
  const auto found = by_group_.find(group);
  return found == by_group_.end() ? nullptr : found->second.get();
}

Replica* Replicas::Find(const ReplicaId& id) const {
  Replica* replica = Find(id.group);
  return replica != nullptr && replica->id() == id ? replica : nullptr;
}

std::string Replicas::NameOf(RaftGroupId group) const {
  const Replica* replica = Find(group);
  return replica != nullptr ? replica->Name() : "group=" + std::to_string(group.value());
}

Replica& Replicas::Add(std::unique_ptr<Replica> replica) {
  const RaftGroupId group = replica->group();
  const auto [added, is_new] = by_group_.emplace(group, std::move(replica));
  CHECK(is_new) << "group=" << group;
  return *added->second;
}

void Replicas::Halt() {
  for (auto& [group, replica] : std::exchange(by_group_, {})) {
    replica->Halt();
    halted_.push_back(std::move(replica));
  }
}

}  // namespace millrace::raft

// The replicas of one host, by group.
//
// Owned by Host, on the shard's thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <glog/logging.h>

#include "proto/base/ids.h"
#include "raft/host/replica.h"

namespace millrace::raft {

class Replicas {
 public:
  // Null if the group has none here.
  Replica* Find(RaftGroupId group) const;
  // Who asked for something that is done now; null if that replica is gone, though another life of
  // its group may be here.
  Replica* Find(const ReplicaId& id) const;
  // What log lines call the group's replica, as Replica::Name(); its number alone if none is here.
  std::string NameOf(RaftGroupId group) const;

  // Pre: its group has none here.
  Replica& Add(std::unique_ptr<Replica> replica);
  // Pre: it is here.
  void Remove(RaftGroupId group) { CHECK_EQ(by_group_.erase(group), 1U) << "group=" << group; }
  // Halts them all: none is found any more, and what machines hold of them stays valid.
  void Halt();

  size_t size() const { return by_group_.size(); }
  // Calls `visit` with each that takes part, in the order of groups.
  template <typename Visit>
  void ForEachJoined(Visit visit) const {
    for (const auto& [group, replica] : by_group_) {
      if (replica->has_joined()) visit(*replica);
    }
  }

 private:
  std::map<RaftGroupId, std::unique_ptr<Replica>> by_group_;
  std::vector<std::unique_ptr<Replica>> halted_;
};

}  // namespace millrace::raft

// Who votes. A configuration may be joint (two sets of voters, both of whose majorities are needed,
// Raft §6), and names voters by broker *and* incarnation, so that a wiped disk is not taken for the
// voter it once was (design D3).
//
// Values; any thread.
#pragma once

#include <vector>

#include "proto/base/ids.h"

namespace millrace::raft::core {

struct Configuration {
  std::vector<Voter> voters;    // sorted
  std::vector<Voter> outgoing;  // sorted; empty unless the configuration is joint
  std::vector<Voter> learners;  // sorted; receive entries, do not vote

  bool is_joint() const { return !outgoing.empty(); }
  bool IsVoter(const Voter& who) const;
  bool IsMember(const Voter& who) const;  // voter, outgoing voter or learner
  // Everyone in it once, sorted.
  std::vector<Voter> Members() const;
  bool operator==(const Configuration&) const = default;
};

}  // namespace millrace::raft::core

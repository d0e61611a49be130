// Who votes. A configuration may be joint (two sets of voters, both of whose majorities are needed,
// Raft §6), and names voters by broker, incarnation *and* replica number, so that neither a wiped
// disk nor a replica that was made anew is taken for the voter it once was (design D3).
//
// Values; any thread.
#pragma once

#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"

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

// Whether it may stand in a log at all: voters there are; each list is sorted and names a broker
// once, however many numbers it has; numbers are below kReplicaNumberEnd; no voter is a learner
// too. (An outgoing voter may be: it then learns on.) INVALID_ARGUMENT with what is wrong.
Status CheckConfiguration(const Configuration& configuration);

// Whether a leader may append `next` while `now` is in force: any majority of the one must meet any
// majority of the other (Raft §6, thesis §4.1 and §4.3). One voter may come or go; more of them
// only by a joint configuration, whose outgoing voters are those of `now`; and out of a joint one
// leads nothing but its own incoming half. FAILED_PRECONDITION, or as CheckConfiguration, with why
// not.
Status CheckChange(const Configuration& now, const Configuration& next);

}  // namespace millrace::raft::core

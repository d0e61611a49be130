// What a group replicates for. The host feeds committed entries to it, in order, once each; a
// partition or the controller implements it.
//
// On the group's shard thread. Deterministic: what Apply does depends on the entries alone.
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/entry.h"
#include "raft/ports/group.h"
#include "raft/ports/snapshot.h"

namespace millrace::raft {

struct Leadership {
  bool is_leader = false;
  // As leader: its no-op is applied, so that everything of older terms is too. Until then no
  // proposals.
  bool is_ready = false;
  Term term;
  Voter leader;  // broker 0 if unknown
  bool operator==(const Leadership&) const = default;
};

class StateMachine {
 public:
  virtual ~StateMachine() = default;
  // The group that this is the machine of; before everything else, and anew where another replica
  // takes the place of one that could not be read at first. Valid until then, or as long as the
  // host and the replica are there.
  virtual void Attach(Group& group) = 0;
  // Takes a snapshot's state, before any Apply, or in the place of all that it had, where the
  // replica was restored from another one; DATA_LOSS if it can't be read, UNIMPLEMENTED if a later
  // version wrote it. Not ok: nothing of it was taken.
  virtual Status Restore(Bytes state) = 0;
  // A committed entry of any type, control entries included. Not ok: it cannot be applied here
  // (UNIMPLEMENTED: a later version wrote it), and nothing that follows will be.
  virtual Status Apply(const core::Entry& entry) = 0;
  // A frozen view of the state after everything applied: a replica that restores it needs no entry
  // before. It takes far less than a millisecond; what is long is to encode it.
  virtual StateEncoder TakeSnapshot() const = 0;
  // The offset of the record after everything applied; 0 where a state machine has no offsets.
  virtual Offset next_offset() const = 0;
  // Records before it are not asked for any more, and nothing of this needs them; it grows. 0 where
  // a state machine has no offsets.
  virtual Offset log_start() const = 0;
  // The append time of the last entry applied, a restored state's included: none may follow that
  // is older.
  virtual int64_t last_append_time_ms() const = 0;
  // The replica joined, role, term, leader or readiness changed, or nothing more is applied. When
  // leadership is lost, the fate of what was proposed and not yet applied is unknown: it may be
  // cut, or committed by another leader.
  virtual void OnLeadership(const Leadership& leadership) = 0;
};

}  // namespace millrace::raft

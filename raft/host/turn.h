// One turn of the shard's loop: all replicas whose cores were given something hand on what these
// have ready, and what they want written goes to the store as one call. What is committed is told
// after that: an entry may be committed in the turn in which it comes, and in the place of another.
//
// Owned by Host, on the shard's thread.
//
//   replica.core().Step(from, message);
//   turn.Add(replica);   // it is drained after what runs now
#pragma once

#include <vector>

#include "proto/base/ids.h"
#include "raft/core/raft.h"
#include "raft/host/disk_watchdog.h"
#include "raft/host/environment.h"
#include "raft/runtime/lifetime.h"

namespace millrace::raft {

class Replica;
class Replicas;

class Turn {
 public:
  Turn(const HostEnvironment& environment, const Replicas& replicas);

  // The replica's core has something ready, or may have.
  void Add(Replica& replica);
  // Gives them to the store, in whose answers they are counted.
  void Write(std::vector<ReplicaWrite> writes);
  // No turn runs any more, and what was written is nobody's business.
  void Stop();
  // For how long the oldest write that is not durable has been under way; 0 if there is none.
  Duration oldest_write_age() const;
  // So many were given to the store.
  uint64_t writes() const { return writes_; }

 private:
  void Run();
  void OnDurable(const std::vector<DurableWrite>& writes);

  const HostEnvironment environment_;
  const Replicas* replicas_;
  std::vector<ReplicaId> waiting_;
  uint64_t writes_ = 0;
  bool is_posted_ = false;
  DiskWatchdog disk_;
  Lifetime lifetime_;
};

}  // namespace millrace::raft

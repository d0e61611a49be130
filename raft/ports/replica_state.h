// What a replica's broker knows of it at one moment, for people who look after it. Host::StateOf
// makes it; nothing is decided by it.
//
// A value; made on the shard's thread.
//
//   const std::optional<ReplicaState> state = host.StateOf(group);
#pragma once

#include <cstdint>
#include <optional>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::raft {

enum class ReplicaRole : uint8_t {
  kLeader,
  kFollower,
  kCandidate,  // it asks for votes, or for pre-votes
  kSilent,     // it takes no part, and ReplicaState::fault says why
  kJoining,    // it does not take part yet
  kRestoring,  // it pulls the log from the leader; until it has that it votes with the one it has
};

// How far a replica is that restores itself from another one.
struct RestoreProgress {
  BrokerId source;      // the leader that it knew last
  Offset begin_offset;  // of the first record of the log that is pulled; 0 before the source told
  uint64_t entries = 0;
  // That the source's log had after its begin, committed, when it answered last: it grows while
  // records come. 0 before it answered.
  uint64_t entries_total = 0;
  uint64_t bytes = 0;  // of all entries that were pulled, of a try before, too
  Duration elapsed{};  // since it began
};

struct ReplicaState {
  ReplicaRole role = ReplicaRole::kJoining;
  Term term;              // 0 unless it takes part, as for the two of the log
  BrokerId leader;        // 0 if none is known
  Offset log_start;       // of the oldest record that readers are given
  Offset high_watermark;  // after the last record that is committed, as is known here, and applied
  std::optional<Offset> log_end;  // after the last record, committed or not
  std::optional<LogIndex> last;   // entry of the log
  LogIndex applied;
  uint64_t sealed_segments = 0;
  uint64_t sealed_bytes = 0;  // of their entries
  uint64_t active_bytes = 0;  // of entries in the segment that is written on
  Status fault;               // not ok: why it is silent, or applies no further, or what is damaged
  Status stall;               // not ok: why its segments cannot be written just now
  std::optional<RestoreProgress> restore;
};

}  // namespace millrace::raft

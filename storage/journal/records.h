// What the journal is given to write and what recovery gives back, in the terms of Raft groups.
// docs/formats.md, "Journal", has the bytes.
//
// Values; any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/configuration.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"
#include "raft/ports/log_store.h"

namespace millrace::storage::journal {

using raft::core::LogPoint;

// Where a replica's log lies and what must be known of it before its entries are read.
struct LogRecord {
  // Entries up to here are gone. Grows.
  LogPoint begin;
  // Entries up to here are committed, synced in segments and need no journal. Grows.
  LogPoint end;
  // Entries up to here are synced in segments, committed or not, and need no journal either; above
  // `end`, or 0: no others are. A truncation cuts it (docs/adr/0010-write-once.md).
  LogIndex written;
  // What truncations up to this epoch cut is off the segments, durably: if there was none since,
  // whatever segments have above is of the log. Grows.
  TruncationEpoch cut_epoch;
  // The epoch of the newest reset, which put another log in this one's place; 0: none.
  TruncationEpoch reset_epoch;
  // The newest pass of compaction that its segments have had (docs/adr/0016-compaction.md); 0:
  // none. Grows, but for a reset.
  uint32_t pass = 0;
  // The generation of the folder that its segments lie in; grows with each reset, 0 at first.
  uint32_t generation = 0;
  // In force at `end`, and the entry that says so; 0: the one that the replica began with.
  LogIndex configuration_index;
  raft::core::Configuration configuration;
  // Entries up to here need no journal.
  LogIndex segments_end() const { return std::max(end.index, written); }
  void SetWritten(LogIndex index) { written = index > end.index ? index : LogIndex(); }
  bool operator==(const LogRecord&) const = default;
};

// A group's part of a commit; its pieces count in this order. The first entry follows the group's
// last one (after the truncation), and entries carry `epoch`, which is the truncation's if there is
// one. Frames are held, not copied, until they are durable.
struct LogWrite {
  std::optional<raft::core::HardState> hard_state;
  std::optional<LogIndex> truncate_from;
  TruncationEpoch epoch;
  std::vector<raft::core::Entry> entries;
};

// The replica exists from here on. An earlier one of its group is gone with that. Pre: no replica
// of the group with this number or a higher one was ever known to this journal.
struct ReplicaCreated {
  raft::ReplicaRecord record;
};

// The replica is gone and its number is never used again.
struct ReplicaRemoved {
  LogIndex controller_index;  // as of the controller's image that no longer has it
};

// Where the log lies now. Its begin, its end, its written end and its configuration grow each by
// itself, so that a record that was composed before another one may come after it; but a written
// end that was composed before a truncation must come before it, and the pass is the last record's.
struct LogMoved {
  LogRecord log;
  // Another log takes this one's place, whatever the journal has of it: `log.reset_epoch` is above
  // all of its epochs.
  bool is_reset = false;
};

enum class FaultCause : uint8_t {
  kRot = 1,    // what was written is not what is read
  kDoubt = 2,  // the journal lost what it was about
  kIo = 3,
  kNotUnderstood = 4,
};
struct Fault {
  FaultCause cause = FaultCause::kRot;
  std::string why;
  bool operator==(const Fault&) const = default;
};

// The replica is stopped for good on this broker. It pins no journal file from here on and is
// recovered with the fault's text as its health.
struct ReplicaFaulty {
  Fault fault;
};

struct GroupRecord {
  raft::ReplicaId replica;
  std::variant<LogWrite, ReplicaCreated, ReplicaRemoved, LogMoved, ReplicaFaulty> body;
};

// A group as the journal knows it after recovery.
struct GroupState {
  raft::ReplicaRecord record;
  raft::core::HardState hard_state;
  TruncationEpoch epoch;
  LogRecord log;
  // The entries log.segments_end() + 1 and up, without gaps, each linked to the one before by its
  // chain.
  std::vector<raft::core::Entry> entries;
  // Not ok: in doubt. Hard state and entries may be older than what this replica has promised; it
  // must stay silent (design D4). The message names file and place.
  Status health;
};

// Bytes that were durable once and can't be read now.
struct Damage {
  std::string file;
  uint64_t offset = 0;
  uint64_t first_lsn = 0;  // the missing blocks
  uint64_t last_lsn = 0;
  std::string what;
};

struct JournalState {
  std::map<RaftGroupId, GroupState> groups;
  // The highest number of a replica that was removed, where none was made since.
  std::map<RaftGroupId, ReplicaNumber> removed;
  // Groups that are written about, but whose ReplicaCreated is lost in a damaged block. They exist
  // nowhere here and must not be created again.
  std::set<RaftGroupId> nameless;
  // The newest index of the controller's log that made or removed a replica.
  LogIndex controller_floor;
  std::vector<Damage> damage;
  // Bytes were lost that no later checkpoint makes up for: a group may have been created there of
  // which nothing else is left. Whoever creates replicas must not take such a one for a new one.
  // Kept across restarts: the directory has to be wiped.
  bool may_lack_groups = false;
};

}  // namespace millrace::storage::journal

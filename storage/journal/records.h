// What the journal is given to write and what recovery gives back, in the terms of Raft groups.
// docs/formats.md, "Journal", has the bytes.
//
// Values; any thread.
#pragma once

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

// How far a group's entries are synced in its segments; entries up to here need no journal. All
// zero where there are none yet.
struct SegmentEnd {
  LogIndex index;
  Term term;
  uint32_t chain = 0;
  Offset next_offset;
  bool operator==(const SegmentEnd&) const = default;
};

// Where a replica's log lies and what must be known of it before its entries are read.
struct LogRecord {
  // The newest entry that the log does not hold any more. Grows.
  raft::core::LogBegin begin;
  // Entries up to here are synced in segments. Grows.
  SegmentEnd end;
  // Of the newest reset, which put another log in this one's place; 0: none.
  TruncationEpoch reset_epoch;
  // Of the folder that its segments lie in; grows with each reset, 0 at first.
  uint32_t generation = 0;
  // In force at `end`, and the entry that says so; 0: the one that the replica began with.
  LogIndex configuration_index;
  raft::core::Configuration configuration;
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

// The replica exists from here on. Pre: the group was never known to this journal.
struct ReplicaCreated {
  raft::ReplicaRecord record;
};

// The replica is gone and its group id is never used again; kept for ever.
struct ReplicaRemoved {};

// The group's segments are synced up to `end`. Grows; committed entries alone.
struct SegmentSynced {
  SegmentEnd end;
};

// The replica is stopped for good on this broker (damage, an I/O error of its segments). It pins no
// journal file from here on and is recovered with this text as its health.
struct ReplicaFaulty {
  std::string why;
};

struct GroupRecord {
  RaftGroupId group;
  std::variant<LogWrite, ReplicaCreated, ReplicaRemoved, SegmentSynced, ReplicaFaulty> body;
};

// A group as the journal knows it after recovery.
struct GroupState {
  raft::ReplicaRecord record;
  raft::core::HardState hard_state;
  TruncationEpoch epoch;
  SegmentEnd segment_end;
  // The entries segment_end.index + 1 and up, without gaps, each linked to the one before by its
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
  std::set<RaftGroupId> removed;
  // Groups that are written about, but whose ReplicaCreated is lost in a damaged block. They exist
  // nowhere here and must not be created again.
  std::set<RaftGroupId> nameless;
  std::vector<Damage> damage;
  // Bytes were lost that no later checkpoint makes up for: a group may have been created there of
  // which nothing else is left. Whoever creates replicas must not take such a one for a new one.
  // Kept across restarts: the directory has to be wiped.
  bool may_lack_groups = false;
};

}  // namespace millrace::storage::journal

// What `millrace inspect` found in a data directory.
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/log_store.h"
#include "storage/journal/records.h"
#include "storage/journal/replay.h"
#include "storage/superblock/superblock.h"

namespace millrace::broker {

struct Finding {
  std::string path;  // below the data directory; empty: it is about no single file
  std::optional<uint64_t> position;
  std::optional<RaftGroupId> group;
  std::string what;
};

enum class Condition : uint8_t { kWhole, kDamaged, kUnreadable };

struct GroupReport {
  raft::ReplicaRecord record;
  raft::core::HardState hard_state;
  storage::journal::LogRecord log;  // its end: what is synced in segments
  storage::journal::LogPoint end;   // of all that the replica has, committed or not
  uint64_t journal_entries = 0;     // that are in no synced segment
  uint64_t journal_bytes = 0;
  uint64_t segment_files = 0;
  uint64_t segment_bytes = 0;
  std::string topic;              // its name; empty: not known here
  bool is_topic_deleted = false;  // says the controller's image that is here
  Condition condition = Condition::kWhole;
};

struct JournalReport {
  uint64_t files = 0;       // that a start would replay
  uint64_t free_files = 0;  // that will be written over
  uint64_t bytes = 0;       // of all of them
  uint64_t last_block = 0;  // its number; 0: nothing was written yet
  std::optional<storage::journal::Replayed::TornWrite> torn_write;
};

struct Report {
  storage::FoundSuperblock superblock;
  JournalReport journal;
  std::vector<GroupReport> groups;  // by id
  // Topics are named as the controller's log has them up to here; absent: none of it is here, or
  // it cannot be read.
  std::optional<LogIndex> names_as_of;
  std::vector<Finding> damage;
  // Not damaged, but not to be read by this process or this build.
  std::vector<Finding> unreadable;
  std::vector<Finding> notes;  // what is as it may be, and worth knowing
  bool is_verified = false;
  uint64_t verified_frames = 0;

  // Takes an error: damage if it is DATA_LOSS. A group's condition is the worst that was found.
  void Add(const Status& why, Finding finding);
};

}  // namespace millrace::broker

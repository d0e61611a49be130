// Replay: a pure function from the bytes of the journal's files to the state they hold, and to what
// is damaged (docs/formats.md, "Replay"; design D4). Decides between a torn tail, which is cut, and
// corruption, which is named and never cut.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/core/entry.h"
#include "raft/ports/log_store.h"
#include "storage/wal/format.h"

namespace millrace::storage::wal {

struct JournalFileImage {
  std::string name;
  Bytes bytes;
};

// An entry as the journal keeps it.
struct JournalEntry {
  Term term;
  TruncationEpoch epoch;
  Bytes frame;
  uint64_t file_sequence = 0;  // where it was found last
};

struct Truncation {
  TruncationEpoch epoch;
  LogIndex from;
  uint64_t file_sequence = 0;  // where it was written first, as far as is known
};

// What the journal knows of one group.
struct JournalGroup {
  std::optional<raft::ReplicaRecord> replica;
  raft::core::HardState hard_state;
  TruncationEpoch epoch;
  std::vector<Truncation> truncations;
  SegmentEnd segment_end;
  // Above the segment end; contiguous after Replay.
  std::map<LogIndex, JournalEntry> entries;
  bool is_removed = false;  // tombstone
  // Not ok: in doubt, and why. The replica stays silent.
  Status health;

  LogIndex last_index() const {
    return entries.empty() ? segment_end.index : entries.rbegin()->first;
  }
};

// Puts one record into the state of its group: the one rule for replay and for the journal's own
// view of what it wrote. DATA_LOSS if the record can't be read.
Status ApplyRecord(const RecordView& record, uint64_t file_sequence, Bytes frame,
                   std::map<RaftGroupId, JournalGroup>* groups);

struct LiveFile {
  uint64_t sequence = 0;
  std::string name;
};

struct JournalState {
  uint64_t journal_uuid = 0;
  std::map<RaftGroupId, JournalGroup> groups;
  std::vector<LiveFile> live;  // oldest first
  Lsn last_lsn;                // of the last block that counts
  uint32_t last_crc = 0;
  // One line for each damaged place, naming file and position.
  std::vector<std::string> damage;
  // How many blocks of a torn tail were cut.
  uint64_t torn_blocks = 0;
};

// DATA_LOSS only if not even a journal can be made out of files that are not empty.
Result<JournalState> Replay(const std::vector<JournalFileImage>& files);

}  // namespace millrace::storage::wal

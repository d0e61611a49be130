// Replay: from the bytes of all journal files to the state of every group, and what is damaged. A
// pure function, specified in docs/formats.md, "Replay"; recovery reads the files and calls it,
// tests call it with whatever bytes they like.
//
// Pure; any thread. Never fails on damage: it names it, and the groups that are in doubt because of
// it.
//
//   ASSIGN_OR_RETURN(Replayed replayed, Replay(key, files));
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "storage/journal/format.h"
#include "storage/journal/ledger.h"
#include "storage/journal/records.h"

namespace millrace::storage::journal {

struct FileImage {
  std::string name;
  uint64_t made_bytes = 0;  // as long as it was made: a shorter one has lost bytes
  Bytes bytes;
};

struct ReplayedGroup {
  GroupLedger ledger;
  // The frames of ledger.entries, in memory of their own.
  std::map<LogIndex, Frame> frames;
  // Why the group is in doubt; empty if it is not.
  std::string doubt;
};

struct Replayed {
  std::map<RaftGroupId, ReplayedGroup> groups;
  std::map<RaftGroupId, TombstoneRecord> removed;
  LogIndex controller_floor;
  std::set<RaftGroupId> nameless;
  std::vector<Damage> damage;
  bool may_lack_groups = false;
  struct LiveFile {
    std::string name;
    uint64_t filled_bytes = 0;  // where its last block ends
  };
  // The files that replay used, by sequence; the others may be written over.
  std::map<uint64_t, LiveFile> live;
  // Names of files that hold nothing readable and are too short to be used; named in `damage`.
  std::vector<std::string> unusable;
  // A write that never ended lies where the journal ends, as a crash leaves it: it was told to
  // nobody, and is no damage. Of its beginning alone: what comes later is not told from what is
  // left of the file's earlier lives.
  struct TornWrite {
    std::string name;
    uint64_t offset = 0;
  };
  std::optional<TornWrite> torn_write;
  // Sequence to begin the next file with: above all that was found.
  uint64_t next_file = 1;
  uint64_t end_lsn = 0;  // 0: nothing was ever written
  uint32_t end_crc = 0;
};

// What is needed of a file's bytes is copied, and they are let go, one file after the other.
// FAILED_PRECONDITION if the files belong to a journal with another key; UNIMPLEMENTED, naming file
// and byte, if an intact block says what this build does not know.
Result<Replayed> Replay(uint64_t key, std::vector<FileImage> files);

// What Raft and segments are told of it.
JournalState StateOf(Replayed replayed);

}  // namespace millrace::storage::journal

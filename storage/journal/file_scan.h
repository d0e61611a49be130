// What can be found in one journal file, wherever damage may have hidden it: every intact block at
// a multiple of 4096, also those of the file's earlier lives.
//
// Pure; for Replay alone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "storage/journal/format.h"
#include "storage/journal/replay.h"

namespace millrace::storage::journal {

struct FoundBlock {
  uint64_t position = 0;
  BlockHeader header;  // of any version: the others' blocks are not read, but they are there
};

struct ScannedFile {
  const FileImage* image = nullptr;
  std::vector<FoundBlock> blocks;  // by position
  // What the intact head says; nullopt if the file has none.
  std::optional<HeadRecord> head;
  // The head's, else the largest of its blocks'; 0 if there are none.
  uint64_t sequence = 0;
  bool has_foreign_blocks = false;  // of another journal

  // The block of this file's sequence at `position`.
  const FoundBlock* At(uint64_t position) const;
  // The first one of this file's sequence past `position` with a number in (lsn, limit).
  const FoundBlock* FirstAfter(uint64_t position, uint64_t lsn, uint64_t limit) const;
  // Whether one of this file's sequence says that block `lsn` was synced.
  bool SaysDurable(uint64_t lsn) const;
};

// Where replay begins, as the newest block of `file`, which has some, knows: a file's sequence.
uint64_t OldestFileOf(const ScannedFile& file);

ScannedFile ScanFile(uint64_t key, const FileImage& image);

}  // namespace millrace::storage::journal

// What a Raft log is made of, as the core sees it: an entry's place (term, index), its kind, its
// link in the hash chain, and its frame (proto/frame), which is opaque here. The frame's bytes are
// shared with the journal, the peers and the tail cache.
//
// Values; immutable once in a log.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "proto/base/ids.h"
#include "proto/frame/frame.h"
#include "raft/core/configuration.h"

namespace millrace::raft::core {

enum class EntryType : uint8_t {
  kNoOp = 1,           // appended by a new leader; commits what older terms left (Raft §8)
  kConfiguration = 2,  // takes effect when appended
  kCommand = 3,        // for the state machine
  kUnknown = 4,        // of a newer build: stored and sent on like any other, never applied here
  // Entries that hold nothing any more (FrameType::kGap), from `index` to LastIndexOf its header:
  // in segments and in what is pulled from another replica's, never in a log.
  kGap = 5,
};

struct Entry {
  Term term;
  LogIndex index;
  EntryType type = EntryType::kCommand;
  // CRC32C over the chain before it, this entry's identity and its payload's checksum: equal (term,
  // index) with another chain means that two logs have diverged, which is never survivable in
  // silence.
  uint32_t chain = 0;
  // The same, and what the entry says, for those above.
  Frame frame;
  // Set for kConfiguration alone; shared by the entry's copies in log, journal queue and peers'
  // windows.
  std::shared_ptr<const Configuration> configuration;

  size_t size_bytes() const { return frame.size(); }
};

inline uint64_t TotalBytes(const std::vector<Entry>& entries) {
  uint64_t bytes = 0;
  for (const Entry& entry : entries) bytes += entry.size_bytes();
  return bytes;
}

// What a replica must never forget, beside its log. A vote is for a voter, incarnation included.
struct HardState {
  Term term;
  Voter vote;  // broker 0: none in this term
  auto operator<=>(const HardState&) const = default;
};

}  // namespace millrace::raft::core

// How far each stage of a log has come that the journal and the segments share, and the entries
// that segments do not have:
//
//   told        what Raft calls committed, here or elsewhere
//   durable     in the journal or in segments, synced
//   committed   both: only this may be moved into segments by and by, or be called committed on disk
//   synced      in segments, synced                                   at most given
//   given       given to segments                                     at most last
//   journalled  the journal knows of it, as an entry or as a written end
//   kept here   given + 1 up to last
//
// Pure; one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "proto/base/ids.h"
#include "raft/core/entry.h"

namespace millrace::storage {

class LogProgress {
 public:
  LogProgress() = default;  // of a log without entries
  // Segments hold the log up to `in_segments`, synced; `kept` is what follows, from the journal.
  LogProgress(LogIndex committed, LogIndex in_segments, LogIndex journalled,
              std::vector<raft::core::Entry> kept);

  LogIndex told() const { return told_; }
  LogIndex committed() const { return committed_; }
  LogIndex synced() const { return synced_; }
  LogIndex given() const { return given_; }
  LogIndex journalled() const { return journalled_; }
  LogIndex last() const { return given_ + kept_.size(); }
  // Of those that are kept, how many bytes are committed.
  uint64_t committed_bytes() const { return committed_bytes_; }

  // Pre: they follow on last().
  void Append(const std::vector<raft::core::Entry>& entries);
  void SetJournalled(LogIndex index) { journalled_ = index; }
  // Cuts off the entries at `from` and after, of which none is committed. True if segments were
  // given some of them.
  bool Truncate(LogIndex from);
  // A truncation is to come: what is at `from` and after is not what will be there.
  void ExpectTruncation(LogIndex from) { durable_ = std::min(durable_, from - 1); }
  // Pre: index <= last(), and no truncation below it is to come.
  void OnDurable(LogIndex index);
  // Pre: it grows.
  void Commit(LogIndex index);
  // The kept ones that are committed, up to `limit`, which segments are given.
  std::vector<raft::core::Entry> GiveCommitted(LogIndex limit = LogIndex(UINT64_MAX));
  // All that are kept.
  std::vector<raft::core::Entry> GiveAll();
  // The last that GiveAll gave did not come to be: `kept` of them are kept again, and the others,
  // `dropped` in number, never came.
  void TakeBack(std::vector<raft::core::Entry> kept, uint64_t dropped);
  void OnSynced(LogIndex index);

 private:
  void Advance();

  LogIndex told_;
  LogIndex durable_;
  LogIndex committed_;
  LogIndex synced_;
  LogIndex given_;
  LogIndex journalled_;
  std::deque<raft::core::Entry> kept_;
  uint64_t committed_bytes_ = 0;
};

}  // namespace millrace::storage

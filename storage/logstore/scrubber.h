// Reads all sealed segments through, a piece at a time, so that damage is found and repaired while
// other replicas still have what it took. A round begins once an interval, and reads at most so
// many bytes a second.
//
// Part of JournalLogStore; on the shard.
#pragma once

#include "storage/logstore/log_store.h"

namespace millrace::storage {

class JournalLogStore::Scrubber {
 public:
  explicit Scrubber(JournalLogStore& store) : store_(store) {}
  Scrubber(const Scrubber&) = delete;
  Scrubber& operator=(const Scrubber&) = delete;

  void Start();

 private:
  void After(Duration wait, void (Scrubber::*then)());
  void BeginRound();
  void Next();
  void OnScrubbed(RaftGroupId group, Result<GroupSegments::Scrubbed> scrubbed);
  void NextGroup();

  JournalLogStore& store_;
  RaftGroupId group_;       // that is read
  LogIndex next_;           // entry of it
  size_t groups_left_ = 0;  // of this round, with that one
};

}  // namespace millrace::storage

// Reads files again that a read ended on with an error of the disk, which may pass: a cable, a path
// to a disk or a server comes back. One that has such an error each time for a minute counts as
// damaged from then on, and is repaired like one that is rotten: what it holds may be intact, but
// cannot be read here.
//
// One file at a time, each to its end or to the first error. Part of JournalLogStore; on the shard.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "storage/logstore/log_store.h"

namespace millrace::storage {

class JournalLogStore::Rereader {
 public:
  explicit Rereader(JournalLogStore& store) : store_(store) {}
  Rereader(const Rereader&) = delete;
  Rereader& operator=(const Rereader&) = delete;

  // A read of the file that begins there had an error. What is written on is not looked at: it is
  // ended before long.
  void Add(RaftGroupId group, LogIndex first);

 private:
  struct File {
    RaftGroupId group;
    LogIndex first;
    auto operator<=>(const File&) const = default;
  };

  void Later();
  void BeginRound();
  void Next();
  void ReadOn();
  void OnRead(const Result<GroupSegments::Scrubbed>& read);
  void OnError(const Status& why);
  // The sealed file's last entry; nullopt if it is none, or is gone.
  std::optional<LogIndex> LastOf(const File& file) const;

  JournalLogStore& store_;
  std::map<File, uint32_t> errors_;  // in a row
  std::vector<File> round_;          // that are to be read yet, the last one first
  LogIndex next_;                    // entry of that
  bool is_on_ = false;
};

}  // namespace millrace::storage

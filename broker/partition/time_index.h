// Where in the log's recent part a time is first reached: every so many entries, the newest
// record's time so far. Records may come in any order of time, so this is a running maximum (design
// D6), and it answers with the few entries of which one reaches the time first.
//
// A value, part of Partition; on the shard's thread.
//
//   index.Add(entry.index, header.max_timestamp_ms);
//   if (auto stretch = index.Find(timestamp_ms)) {
//     ... look at (stretch->after, stretch->last]
//   }
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "proto/base/ids.h"

namespace millrace::broker {

class TimeIndex {
 public:
  // Entries from one point to the next; so many are looked at one by one.
  static constexpr uint64_t kEntriesPerPoint = 64;

  struct Stretch {
    LogIndex after;
    LogIndex last;
  };

  // An entry of records whose newest is of `timestamp_ms`. Pre: `index` is beyond all before it.
  void Add(LogIndex index, int64_t timestamp_ms);
  // Entries before `index` are not asked for any more.
  void DropBefore(LogIndex index);
  // The entry that first reaches `timestamp_ms`, of all that were added, lies in here; or before
  // it, where entries were dropped. Nothing if none reaches it.
  std::optional<Stretch> Find(int64_t timestamp_ms) const;
  size_t size() const { return points_.size(); }

 private:
  // The newest time of the entries up to `last`.
  struct Point {
    LogIndex last;
    int64_t newest_ms = 0;
  };
  std::deque<Point> points_;  // the last one grows until it has its entries
  uint64_t entries_in_last_ = 0;
};

}  // namespace millrace::broker

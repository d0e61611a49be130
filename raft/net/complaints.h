// What strangers and peers do wrong, for the log: anybody who reaches the port could fill the disk
// with it otherwise. Each source is told of once, and then a minute's further ones as one line with
// their number.
//
// Owned by SessionContext; on the shard's thread.
//
//   if (complaints.Note("10.0.0.9", "these are not peer frames")) LOG(WARNING) << ...;
//   complaints.Sweep();   // from a timer
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "raft/runtime/clock.h"

namespace millrace::raft::net {

class Complaints {
 public:
  // Further sources share one name, so that a flood from many addresses is no flood of lines.
  static constexpr size_t kSourcesMax = 64;
  static constexpr Duration kInterval = std::chrono::minutes(1);

  explicit Complaints(const Clock& clock) : clock_(&clock) {}

  // Whether `source` is new, and the caller has to tell; else it is counted.
  bool Note(std::string_view source, std::string_view what);
  // Tells what was counted in a minute that is over, and forgets who was quiet in it.
  void Sweep();

  // Lines told so far, and those that callers were asked for, for tests and diagnostics.
  uint64_t line_count() const { return line_count_; }

 private:
  struct Source {
    MonotonicTime since;
    uint64_t count = 0;  // not told yet
    std::string last;
  };

  const Clock* clock_;
  std::map<std::string, Source, std::less<>> sources_;
  uint64_t line_count_ = 0;
};

// What a stranger sent as text, fit for one line of a log: cut, and without what is not printable.
std::string Printable(std::string_view text);

}  // namespace millrace::raft::net

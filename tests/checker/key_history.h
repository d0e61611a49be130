// A history cut into its keys, and what each key's log must have been: the checker's working form.
// Every rule is per key, and sees only this.
//
// Values; made by SplitByKey, used by checker.cc, then dropped.
//
//   ASSIGN_OR_RETURN(auto keys, SplitByKey(history));
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "proto/base/status.h"
#include "tests/checker/history.h"

namespace millrace::checker {

// A value that was sent, and all that became of it.
struct Write {
  Value value = 0;
  uint64_t process = 0;
  size_t invoked_by = 0;  // the op's place in the history
  size_t place = 0;       // among the key's sends, as they were invoked
  int64_t invoked_ns = 0;
  OpType outcome = OpType::kInfo;
  int64_t acknowledged_ns = 0;  // the first time, if the outcome is ok
  std::optional<size_t> completed_by;
  std::vector<Offset> offsets;  // that completions told, each once
  bool is_read = false;
  bool is_committed = false;     // ok; or info and something of its batch was read
  std::optional<Offset> offset;  // first known: told or read
};

// Of what began when nobody says when.
inline constexpr int64_t kEver = std::numeric_limits<int64_t>::min();

struct KeyRead {
  uint64_t process = 0;
  // Counts the process's assigns of the key: reads of two of them are not compared.
  uint64_t assignment = 0;
  int64_t begun_ns = kEver;  // with that assign
  size_t op = 0;
  Offset offset;
  std::optional<Value> value;
};

struct SeenHighWatermark {
  uint64_t process = 0;
  Offset offset;
};

struct KeyDeletion {
  uint64_t process = 0;
  Offset before;
  OpType outcome = OpType::kInfo;
  int64_t acknowledged_ns = 0;  // if the outcome is ok
  std::optional<Offset> start;  // that it was told
};

struct SeenLogStart {
  uint64_t process = 0;
  Offset offset;
  int64_t begun_ns = kEver;  // what it was told by
  int64_t seen_ns = 0;
};

struct KeyHistory {
  std::vector<Write> writes;                       // by value
  std::vector<KeyRead> reads;                      // as they happened
  std::vector<SeenHighWatermark> high_watermarks;  // as they happened
  std::vector<KeyDeletion> deletions;              // as they were invoked
  std::vector<SeenLogStart> log_starts;            // as they happened
  // What stood where, from reads and from sends that must have committed; by offset, each once.
  std::vector<std::pair<Offset, Value>> log;
  // Offsets that are known to hold something, ascending; a position here is Jepsen's dense index.
  std::vector<Offset> known_offsets;

  // Records before it may be gone: somebody may have deleted them.
  Offset gone_before() const;
  // Null if nobody sent it.
  Write* FindWrite(Value value);
  // Pre: the offset is known.
  size_t IndexOf(Offset offset) const;
};

Result<std::map<Key, KeyHistory>> SplitByKey(const History& history);

}  // namespace millrace::checker

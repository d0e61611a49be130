// What clients did to a cluster and what they were told: the checker's input, as Jepsen records it.
// An op is invoked by a process and completes as ok (it happened), fail (it surely did not) or info
// (nobody knows). A key is a partition; a value is sent once to a key, and so names its record.
// What is read is what the application was given.
//
// Values; any thread. Written and read as JSON lines by history_json.h.
//
//   History history;
//   history.push_back({.type = OpType::kInvoke, .kind = OpKind::kSend, .process = 1, .time_ns = 5,
//                      .sends = {{.key = PartitionId(0), .value = 17}}});
//   Result<Verdict> verdict = Check(history);
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "proto/base/ids.h"

namespace millrace::checker {

using Key = PartitionId;
using Value = uint64_t;

enum class OpType { kInvoke, kOk, kFail, kInfo };
enum class OpKind { kSend, kPoll, kAssign, kDelete, kOffsets };

struct Send {
  Key key;
  Value value = 0;
  // Where it is stored, in a completion that was told.
  std::optional<Offset> offset;
  bool operator==(const Send&) const = default;
};

struct Read {
  Key key;
  Offset offset;
  // Empty: what was there is not what anybody could have written (its checksum is wrong).
  std::optional<Value> value;
  bool operator==(const Read&) const = default;
};

struct HighWatermark {
  Key key;
  Offset offset;
  bool operator==(const HighWatermark&) const = default;
};

// Records before the offset are to go, or are gone.
struct Deletion {
  Key key;
  Offset before;
  bool operator==(const Deletion&) const = default;
};

struct LogStart {
  Key key;
  Offset offset;
  bool operator==(const LogStart&) const = default;
};

// One line of a history. A send's completion is matched with its invocation by key and value, so
// that a process may have many under way. One completion with several values stands for one batch:
// all of them are stored, or none. Of deletes and offsets a process has one under way at a time; an
// assign takes no time, and what it reads, or is told while it reads, began with it.
struct Op {
  OpType type = OpType::kInvoke;
  OpKind kind = OpKind::kSend;
  uint64_t process = 0;
  // From one clock for all processes; it orders acknowledgements before invocations.
  int64_t time_ns = 0;
  std::vector<Send> sends;
  std::vector<Read> reads;                     // of a poll, in the order they came
  std::vector<HighWatermark> high_watermarks;  // that a poll showed
  std::vector<Key> keys;             // of an assign; what follows of these may begin anywhere
  std::vector<Deletion> deletes;     // of a delete, when it is invoked and when it completes
  std::vector<LogStart> log_starts;  // that a delete, an offsets or a poll was told
  bool operator==(const Op&) const = default;
};

// In the order in which things happened.
using History = std::vector<Op>;

}  // namespace millrace::checker

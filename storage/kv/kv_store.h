// What is small and looked up by key: group offsets, coordinator state, later the stores of Streams
// (design D4, "RocksDB"). Named now so that its users are written against it; RocksDB comes behind
// it with the first state that outgrows its log. Never message bytes.
//
// The Raft log is the write-ahead log: a Write is durable only after a Flush that covers it, and
// whatever a crash takes is applied again from the log, from applied_index() on. So a log may be
// dropped up to flushed_index() and no further.
//
// On the Executor it was made for; reads and writes do not wait for the disk longer than one
// lookup. An I/O error ends the process through the FailStop that the implementation is given
// (design D4).
//
//   KvWriteBatch batch{.applied_index = entry.index};
//   batch.Put(KvFamily::kGroupOffsets, key, value);
//   store.Write(std::move(batch));
//   store.Flush([&](LogIndex flushed) { log.DropUpTo(flushed); });
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::storage {

// Separate key spaces, flushed together. Numbers are on disk.
enum class KvFamily : uint8_t {
  kControllerTables = 1,
  kGroupOffsets = 2,
  kCoordinatorState = 3,
};

// Changes that take effect together, with the index of the entry that they come from.
struct KvWriteBatch {
  struct Change {
    KvFamily family;
    std::string key;
    std::optional<std::string> value;  // none: the key is deleted
  };

  void Put(KvFamily family, std::string key, std::string value) {
    changes.push_back({.family = family, .key = std::move(key), .value = std::move(value)});
  }
  void Delete(KvFamily family, std::string key) {
    changes.push_back({.family = family, .key = std::move(key), .value = std::nullopt});
  }

  LogIndex applied_index;
  std::vector<Change> changes;  // of one key, the last one counts
};

class KvStore {
 public:
  virtual ~KvStore() = default;

  // The value as of the last Write; NOT_FOUND if there is none; DATA_LOSS if it can't be read.
  virtual Result<std::string> Get(KvFamily family, std::string_view key) const = 0;

  // All changes or none, seen by reads at once. Pre: batch.applied_index is above applied_index().
  virtual void Write(KvWriteBatch batch) = 0;

  // Keys in [first, end) in the order of their bytes, until `visit` says false; an empty `end` is
  // past all keys. `visit` must not write. DATA_LOSS if a key can't be read.
  using Visit = MoveFunction<bool(std::string_view key, std::string_view value)>;
  virtual Status Scan(KvFamily family, std::string_view first, std::string_view end,
                      Visit visit) const = 0;

  // Makes everything written so far durable, all families as of the same entry; then calls `done`
  // with that entry's index.
  virtual void Flush(MoveFunction<void(LogIndex)> done) = 0;

  // The index of the last Write; 0 before the first.
  virtual LogIndex applied_index() const = 0;
  // What certainly survives a crash; at start the same as applied_index().
  virtual LogIndex flushed_index() const = 0;
};

}  // namespace millrace::storage

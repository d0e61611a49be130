// The linearizable reads of one replica that wait (Raft thesis §6.4): for a majority to confirm the
// leader, which tells up to where a read must see the log, and then until that is applied.
//
// Owned by Replica, on the shard's thread. Pure.
//
//   const uint64_t id = barriers.NewId();
//   core.ReadIndex(id);
//   barriers.Add(id, std::move(done));
//   barriers.OnConfirmed(id, index);  // from the core's read states
//   barriers.Complete(applied);
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

class ReadBarriers {
 public:
  using Done = MoveFunction<void(Status)>;

  // What names the next read, to the core as well; never given twice.
  uint64_t NewId() { return next_id_++; }
  // Pre: `id` is new.
  void Add(uint64_t id, Done done);
  // The read may be served once `index` is applied. Of a read that does not wait any more: ignored.
  void OnConfirmed(uint64_t id, LogIndex index);

  // Answers those that may be served. Their callbacks may add others.
  void Complete(LogIndex applied);
  // The same, and UNAVAILABLE (NOT_LEADER) to all others: nobody will confirm them any more.
  void CompleteOrFail(LogIndex applied);
  // Forgets all without an answer.
  void Clear() { waiting_.clear(); }

 private:
  struct Waiting {
    Done done;
    std::optional<LogIndex> index;  // once a majority confirmed it
  };

  void Answer(LogIndex applied, bool is_lost);

  uint64_t next_id_ = 1;
  std::map<uint64_t, Waiting> waiting_;
};

}  // namespace millrace::raft

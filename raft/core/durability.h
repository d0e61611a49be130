// What of a replica's promises is on its disk: its hard state by version, its log by index, and the
// messages that may leave once both are.
//
// Writes complete in order, but a completion may come after the log was cut and other entries took
// the place of those that it was for. Each write therefore names the truncation epoch in which it
// was asked for, and counts only for what no later cut touched.
//
// Part of Raft, on the shard's thread. Pure.
//
//   durability.OnHardStateChanged();
//   if (!durability.Covers(index)) durability.Delay(message, index);
//   durability.OnDurable(point, log.last_index());
//   durability.ReleaseInto(&messages);
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "proto/base/ids.h"
#include "raft/core/message.h"

namespace millrace::raft::core {

// What a StorageWrite's completion proves.
struct DurablePoint {
  uint64_t hard_state_version = 0;
  Term last_term;
  LogIndex last_index;
  TruncationEpoch epoch;
};

class Durability {
 public:
  // All that a replica starts with is durable.
  Durability(LogIndex last_index, TruncationEpoch epoch)
      : index_(last_index), epoch_(epoch), durable_epoch_(epoch) {}

  // Entries up to here are durable, and are those that the log has now.
  LogIndex index() const { return index_; }
  // The epoch of the newest truncation.
  TruncationEpoch epoch() const { return epoch_; }
  // The version of the hard state as it is now.
  uint64_t hard_state_version() const { return hard_state_version_; }
  bool is_hard_state_durable() const { return durable_hard_state_version_ >= hard_state_version_; }
  // Whether the hard state and the entries up to `index` are durable.
  bool Covers(LogIndex index) const { return is_hard_state_durable() && index_ >= index; }

  void OnHardStateChanged() { ++hard_state_version_; }
  // The entries from `from` on are cut off the log. What was promised of them is never said.
  void Truncate(LogIndex from);
  // A write completed. `last_index`: of the log as it is now.
  void OnDurable(const DurablePoint& point, LogIndex last_index);

  // Keeps the message until the hard state as it is now and the entries up to `index` are durable.
  void Delay(OutgoingMessage message, LogIndex index);
  // Moves the messages that may leave to the end of `messages`, oldest first.
  void ReleaseInto(std::vector<OutgoingMessage>* messages);
  // Promises that are worth nothing to anybody any more: of an older term, or of one that failed.
  void DropDelayed() { delayed_.clear(); }

  void CheckInvariants(LogIndex last_index) const;

 private:
  struct Delayed {
    OutgoingMessage message;
    uint64_t hard_state_version = 0;
    LogIndex index;
  };
  struct Cut {
    TruncationEpoch epoch;
    LogIndex from;
  };

  // Versions, epochs and indexes only grow, but for index_ at a truncation.
  uint64_t hard_state_version_ = 0;
  uint64_t durable_hard_state_version_ = 0;
  LogIndex index_;
  TruncationEpoch epoch_;
  TruncationEpoch durable_epoch_;  // the newest of a completed write
  std::vector<Cut> cuts_;  // truncations that completions of older epochs may still come after
  std::deque<Delayed> delayed_;
};

}  // namespace millrace::raft::core

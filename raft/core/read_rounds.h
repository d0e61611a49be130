// Linearizable reads without the log (Raft thesis §6.4): a leader notes its commit index, and may
// serve the read once a majority answered heartbeats that left after the read had come. Reads that
// come before those leave share them.
//
// Part of a leader's state, on the shard's thread. Pure.
//
//   if (rounds.Join()) { rounds.Begin(); send heartbeats of rounds.current(); }
//   rounds.Add(request_id, commit_index);
//   rounds.Serve([&](uint64_t round) { return a majority answered `round`; }, &served);
#pragma once

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "proto/base/ids.h"

namespace millrace::raft::core {

// A read that may be served once `index` is applied.
struct ReadState {
  uint64_t request_id = 0;
  LogIndex index;
};

class ReadRounds {
 public:
  // The round of the newest heartbeats.
  uint64_t current() const { return round_; }
  // Heartbeats of a new round are about to leave.
  void Begin() { ++round_; }

  // A read wants a round whose heartbeats have not left; true if none is open, and heartbeats are
  // to be sent for one.
  bool Join() { return !std::exchange(is_open_, true); }
  // What was to leave has left.
  void Close() { is_open_ = false; }
  // Pre: it joined, and the round it is to wait for is the current one.
  void Add(uint64_t request_id, LogIndex commit_index) {
    reads_.push_back({{.request_id = request_id, .index = commit_index}, round_});
  }

  // Moves those whose round `is_confirmed` to the end of `served`, oldest first.
  template <typename IsConfirmed>
  void Serve(IsConfirmed is_confirmed, std::vector<ReadState>* served) {
    while (!reads_.empty() && is_confirmed(reads_.front().round)) {
      served->push_back(reads_.front().read);
      reads_.pop_front();
    }
  }

 private:
  struct Pending {
    ReadState read;
    uint64_t round = 0;
  };

  uint64_t round_ = 1;
  bool is_open_ = false;
  std::deque<Pending> reads_;  // by round
};

}  // namespace millrace::raft::core

// The pace of what need not hurry, so that live records have their turns: after each piece it waits
// until that is as long ago as the piece may take.
//
//   RunAfter(TimeLeft(clock, piece_began + TimeOf(piece_bytes, bytes_per_second)), ReadNext);
//   RunAfter(TimeLeft(clock, piece_began + pace.TimeOf(piece_bytes, writes())), ReadNext);
#pragma once

#include <cstdint>
#include <utility>

#include "raft/runtime/clock.h"

namespace millrace {

// Pre: bytes_per_second > 0; fewer than 2^44 bytes.
inline Duration TimeOf(uint64_t bytes, uint64_t bytes_per_second) {
  return Duration(static_cast<int64_t>(bytes * 1'000'000 / bytes_per_second));
}

// A pace that is slower beside live records, whose writes somebody counts. One thread.
class PaceBesideWrites {
 public:
  struct BytesPerSecond {
    uint64_t alone = 0;
    uint64_t beside = 0;
  };
  // Pre: both > 0.
  explicit PaceBesideWrites(const BytesPerSecond& rates) : rates_(rates) {}

  // Of these writes none came beside the next piece. Without it, those since the last one did.
  void Begin(uint64_t writes) { writes_seen_ = writes; }
  // How long a piece may take, now that there were so many writes.
  Duration TimeOf(uint64_t bytes, uint64_t writes) {
    const bool is_beside = writes != std::exchange(writes_seen_, writes);
    return millrace::TimeOf(bytes, is_beside ? rates_.beside : rates_.alone);
  }
  const BytesPerSecond& rates() const { return rates_; }

 private:
  BytesPerSecond rates_;
  uint64_t writes_seen_ = 0;
};

}  // namespace millrace

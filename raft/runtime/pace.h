// The pace of what need not hurry, so that live records have their turns: after each piece it waits
// until that is as long ago as the piece may take.
//
//   RunAfter(TimeLeft(clock, piece_began + TimeOf(piece_bytes, bytes_per_second)), ReadNext);
#pragma once

#include <cstdint>

#include "raft/runtime/clock.h"

namespace millrace {

// Pre: bytes_per_second > 0; fewer than 2^44 bytes.
inline Duration TimeOf(uint64_t bytes, uint64_t bytes_per_second) {
  return Duration(static_cast<int64_t>(bytes * 1'000'000 / bytes_per_second));
}

}  // namespace millrace

// Time, injected: nothing but the real clock and the simulator's reads one.
//
//   MonotonicTime deadline = clock.Now() + std::chrono::milliseconds(300);
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace millrace {

using Duration = std::chrono::microseconds;
// Time since an arbitrary origin that never goes back; the scale for every timeout.
using MonotonicTime = std::chrono::microseconds;

// Any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime Now() const = 0;
  // Milliseconds since 1970, may jump. Stamped by leaders into the log, told to peers, and used for
  // nothing else.
  virtual int64_t WallMs() const = 0;
};

// Until `deadline`; zero once it has passed.
inline Duration TimeLeft(const Clock& clock, MonotonicTime deadline) {
  return std::max(deadline - clock.Now(), Duration(0));
}

}  // namespace millrace

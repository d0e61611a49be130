#include "raft/runtime/real_clock.h"

namespace millrace {

MonotonicTime RealClock::Now() const {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<MonotonicTime>(since);
}

int64_t RealClock::WallMs() const {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
}

}  // namespace millrace

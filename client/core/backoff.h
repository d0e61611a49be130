// How long to wait before the next try: doubling from `initial` to `max`, each drawn from the upper
// half, so that many clients that failed together do not come back together.
//
// One owner; any one thread.
//
//   retry_at = now + BackoffDelay(tuning.backoff, failures, random);
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "raft/runtime/clock.h"
#include "raft/runtime/random.h"

namespace millrace::client {

struct BackoffOptions {
  Duration initial = std::chrono::milliseconds(20);
  Duration max = std::chrono::milliseconds(1000);
};

// `failures` in a row so far, 1 and up.
inline Duration BackoffDelay(const BackoffOptions& options, uint32_t failures, Random& random) {
  const uint32_t doublings = std::min<uint32_t>(failures > 0 ? failures - 1 : 0, 20);
  const int64_t full = std::min(options.max.count(), options.initial.count() << doublings);
  const auto half = static_cast<uint64_t>(full / 2);
  return Duration(full / 2 + static_cast<int64_t>(random.Between(0, half)));
}

}  // namespace millrace::client

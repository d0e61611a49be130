// Whether this broker's wall clock may be believed: what expires by time expires by one broker's
// clock, and must not all go because that one is wrong.
//
// Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace millrace::broker {

// How far a clock may be from the brokers' median.
inline constexpr int64_t kClockErrorMaxMs = 60'000;

// `own_ms` and what the peers' clocks show at the same time. Where nobody else tells a time there
// is none to doubt it by.
inline bool IsClockTrusted(int64_t own_ms, std::vector<int64_t> peers_ms) {
  std::vector<int64_t>& all = peers_ms;
  all.push_back(own_ms);
  std::sort(all.begin(), all.end());
  const int64_t low = all[(all.size() - 1) / 2];
  const int64_t high = all[all.size() / 2];
  const int64_t median = low + (high - low) / 2;
  return own_ms - median <= kClockErrorMaxMs && median - own_ms <= kClockErrorMaxMs;
}

}  // namespace millrace::broker

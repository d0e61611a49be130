// Whether this broker's wall clock may be believed: what expires by time expires by one broker's
// clock, and must not all go because that one is wrong.
//
// Pure.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace millrace::broker {

// How far a clock may be from the brokers' median.
inline constexpr int64_t kClockErrorMaxMs = 60'000;

enum class ClockVerdict {
  kAgrees,
  kDiffers,
  kUnknown,  // too few tell their time: this broker just started, or is cut off
};

// `own_ms` and what the peers' clocks show at the same time, of so many brokers in all. Less than a
// majority of them is none to be judged by: the one that is wrong may be among few. A broker that
// is alone has no other clock.
inline ClockVerdict JudgeClock(int64_t own_ms, std::vector<int64_t> peers_ms, size_t brokers) {
  std::vector<int64_t>& all = peers_ms;
  all.push_back(own_ms);
  if (all.size() <= brokers / 2) return ClockVerdict::kUnknown;
  std::sort(all.begin(), all.end());
  const int64_t low = all[(all.size() - 1) / 2];
  const int64_t high = all[all.size() / 2];
  const int64_t median = low + (high - low) / 2;
  const bool is_near = own_ms - median <= kClockErrorMaxMs && median - own_ms <= kClockErrorMaxMs;
  return is_near ? ClockVerdict::kAgrees : ClockVerdict::kDiffers;
}

}  // namespace millrace::broker

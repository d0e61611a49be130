#include "broker/controller/leader_epoch.h"

#include <algorithm>

namespace millrace::broker {
namespace {

constexpr int64_t kEpochsBeginMs = 1'735'689'600'000;  // 2025-01-01T00:00:00Z
constexpr int64_t kUnitMs = 4000;

}  // namespace

uint32_t LeaderEpochBaseAt(int64_t wall_ms) {
  const int64_t units = (wall_ms - kEpochsBeginMs) / kUnitMs;
  return static_cast<uint32_t>(std::clamp<int64_t>(units, 1, kLeaderEpochBaseMax));
}

LeaderEpoch LeaderEpochOf(uint32_t base, Term term) {
  // Terms come from peers, too.
  const uint64_t left = kLeaderEpochMax - std::min(base, kLeaderEpochMax);
  return LeaderEpoch(base) + static_cast<uint32_t>(std::min(term.value(), left));
}

}  // namespace millrace::broker

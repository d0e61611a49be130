#include "raft/host/disk_watchdog.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::raft {

void DiskWatchdog::OnDurable(MonotonicTime submitted_at) {
  const auto found = under_way_.find(submitted_at);
  CHECK(found != under_way_.end());
  under_way_.erase(found);
}

Duration DiskWatchdog::OldestAge(MonotonicTime now) const {
  if (under_way_.empty()) return Duration(0);
  return std::max(now - *under_way_.begin(), Duration(1));
}

}  // namespace millrace::raft

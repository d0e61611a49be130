#include "raft/host/disk_watchdog.h"

#include <algorithm>

#include <glog/logging.h>

namespace millrace::raft {

void DiskWatchdog::OnDurable() {
  CHECK(!under_way_.empty());
  under_way_.pop_front();
}

Duration DiskWatchdog::OldestAge(MonotonicTime now) const {
  if (under_way_.empty()) return Duration(0);
  return std::max(now - under_way_.front(), Duration(1));
}

}  // namespace millrace::raft

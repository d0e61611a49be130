// What lies before a reader in a partition: what the coordinator asks partitions' leaders to know
// how far groups are behind.
//
// Values; any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

struct UnreadQuestion {
  RaftGroupId group;
  Offset next;  // of the record that is read next; past the end: its time is not asked for
};

struct Unread {
  Offset log_start;
  Offset high_watermark;
  // How long the first record that is not read, of those that are there, lies here: between these.
  // 0 where there is none.
  int64_t waited_ms_min = 0;
  int64_t waited_ms_max = 0;
  bool operator==(const Unread&) const = default;
};

// As they were asked for.
using UnreadAnswers = std::vector<Result<Unread>>;
using UnreadDone = MoveFunction<void(UnreadAnswers)>;

}  // namespace millrace::broker

// A batch on its way into a partition, and what becomes of it.
#pragma once

#include <cstdint>
#include <optional>

#include "broker/controller/leader_epoch.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// A serialized RecordBatch as it came.
struct SentBatch {
  Bytes bytes;
  // An earlier attempt had no answer: it may be stored.
  bool is_repeated = false;
  // Where the log must end for it to be appended, what is in flight included; none: anywhere.
  std::optional<Offset> expected_end = {};
};

struct ProduceOutcome {
  Offset base_offset;  // -1 for a duplicate too old to know
  int64_t append_time_ms = 0;
  bool is_duplicate = false;
  LeaderEpoch leader_epoch;
};
using ProduceDone = MoveFunction<void(Result<ProduceOutcome>)>;

}  // namespace millrace::broker

// A state machine's state at one place of its log, which a replica goes on from without the entries
// before it.
#pragma once

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "raft/runtime/task.h"

namespace millrace::raft {

// A state machine's state after the entry at `index`.
struct Snapshot {
  LogIndex index;
  Bytes state;
};

// A frozen view of a state, which gives it whole; never empty. Called once, on any thread: what the
// machine applies meanwhile does not change it.
using StateEncoder = MoveFunction<Bytes()>;

}  // namespace millrace::raft

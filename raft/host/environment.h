// What a host and its replicas use of the world.
#pragma once

#include "raft/ports/log_store.h"
#include "raft/ports/transport.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::raft {

// All of it outlives the host; on the shard's thread.
struct HostEnvironment {
  Executor& executor;
  const Clock& clock;
  Transport& transport;
  LogStore& log_store;
};

}  // namespace millrace::raft

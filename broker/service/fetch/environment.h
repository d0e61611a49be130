// What serving reads takes of a broker. All outlive the streams.
#pragma once

#include "broker/api/client_memory.h"
#include "broker/partition/batch_worker.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/partition_client.h"
#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

struct FetchEnvironment {
  Executor& executor;
  const Clock& clock;
  ClusterView& view;
  PartitionClient& partitions;
  // Where batches are rewritten.
  BatchWorker& batches;
  ClientMemory& memory;
  BrokerId self;
};

}  // namespace millrace::broker

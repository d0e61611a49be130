// What taking records takes of a broker. All outlive the streams.
#pragma once

#include "broker/api/client_memory.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "broker/routing/coordinator_client.h"
#include "broker/routing/partition_client.h"
#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

struct ProduceEnvironment {
  Executor& executor;
  const Clock& clock;
  const ClusterView& view;
  PartitionClient& partitions;
  ControllerClient& controllers;
  CoordinatorClient& coordinators;
  MemoryBudget& memory;  // of what comes in
  BrokerId self;
};

}  // namespace millrace::broker

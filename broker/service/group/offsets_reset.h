// GroupService.ResetOffsets: asks what the group has committed and where its partitions' leaders
// say that the new offsets are, then moves the group there, all of it or nothing.
//
// On the shard's thread; a call that waits ends with CoordinatorClient::Stop.
//
//   StartOffsetsReset(environment, call, std::move(request));
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "broker/routing/partition_client.h"
#include "millrace/v1/group_service.pb.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

// All outlive the call.
struct OffsetsResetEnvironment {
  const Clock& clock;
  ClusterView& view;
  CoordinatorClient& coordinators;
  PartitionClient& partitions;
};

void StartOffsetsReset(const OffsetsResetEnvironment& environment, std::shared_ptr<Call> call,
                       v1::ResetOffsetsRequest request);

}  // namespace millrace::broker

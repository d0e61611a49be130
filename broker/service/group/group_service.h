// millrace.v1.GroupService: groups, their members and what they committed, by the coordinator's
// shards.
//
// Owned by the Node, on the shard's thread; calls that wait end with CoordinatorClient::Stop.
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/client_memory.h"
#include "broker/api/service_registry.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "broker/routing/partition_client.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

class GroupService {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    ClusterView& view;
    CoordinatorClient& coordinators;
    PartitionClient& partitions;
    ClientMemory& memory;
  };

  explicit GroupService(const Environment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);

 private:
  class List;

  CoordinatorClient::Asker AskerOf(const Call& call) const;
  void CommitOffsets(const std::shared_ptr<Call>& call);
  void FetchOffsets(const std::shared_ptr<Call>& call);
  void ListGroups(const std::shared_ptr<Call>& call);
  void DescribeGroup(const std::shared_ptr<Call>& call);
  void DescribeLag(const std::shared_ptr<Call>& call);
  void ResetOffsets(const std::shared_ptr<Call>& call);
  void DeleteOffsets(const std::shared_ptr<Call>& call);
  void DeleteGroup(const std::shared_ptr<Call>& call);

  const Environment environment_;
};

}  // namespace millrace::broker

// AdminService.DescribeReplicas: what this broker knows of its own replicas of a topic.
//
// Owned by the Node, on the shard's thread. Asks nobody.
//
//   ReplicaDescriber replicas({.view = view, .self = self, .state_of = ...});
//   replicas.Register(&registry);
#pragma once

#include <functional>
#include <optional>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/partition/compactor.h"
#include "broker/routing/cluster_view.h"
#include "millrace/v1/admin_service.pb.h"
#include "raft/ports/replica_state.h"

namespace millrace::broker {

class ReplicaDescriber {
 public:
  struct Environment {
    const ClusterView& view;  // outlives this
    BrokerId self;
    // Of the group's replica here; none if there is none.
    std::function<std::optional<raft::ReplicaState>(RaftGroupId)> state_of;
    // Of the same; none if no pass of compaction was decided.
    std::function<std::optional<CompactionProgress>(RaftGroupId)> compaction_of;
  };

  explicit ReplicaDescriber(Environment environment) : environment_(std::move(environment)) {}
  void Register(ServiceRegistry* registry);

 private:
  void DescribeReplicas(Call& call) const;
  v1::DescribeReplicasResponse Describe(const v1::DescribeReplicasRequest& request,
                                        const TopicInfo& topic) const;

  const Environment environment_;
};

}  // namespace millrace::broker

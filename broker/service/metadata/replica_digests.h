// AdminService.DigestReplica: a digest of what this broker's own replica of a partition holds.
//
// Owned by the Node, on the shard's thread. Asks nobody.
//
//   ReplicaDigests digests({.view = view, .self = self, .digester = digester});
//   digests.Register(&registry);
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/partition/digester.h"
#include "broker/routing/cluster_view.h"

namespace millrace::broker {

class ReplicaDigests {
 public:
  struct Environment {
    const ClusterView& view;  // this and the digester outlive this
    BrokerId self;
    Digester& digester;
  };

  explicit ReplicaDigests(const Environment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);

 private:
  void DigestReplica(std::shared_ptr<Call> call) const;

  const Environment environment_;
};

}  // namespace millrace::broker

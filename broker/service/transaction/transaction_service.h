// millrace.v1.TransactionService: how transactions end, and what there is of them, by the
// coordinator's shards.
//
// Owned by the Node, on the shard's thread; calls that wait end with CoordinatorClient::Stop.
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/coordinator_client.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

class TransactionService {
 public:
  // All outlive this.
  struct Environment {
    const Clock& clock;
    const ClusterView& view;
    CoordinatorClient& coordinators;
  };

  explicit TransactionService(const Environment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);

 private:
  CoordinatorClient::Asker AskerOf(const Call& call) const;
  void EndTransaction(const std::shared_ptr<Call>& call);
  void ListTransactions(const std::shared_ptr<Call>& call);
  void DescribeTransaction(const std::shared_ptr<Call>& call);
  void AbortTransaction(const std::shared_ptr<Call>& call);

  const Environment environment_;
};

}  // namespace millrace::broker

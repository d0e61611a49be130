// millrace.v1.AdminService: creates, alters and deletes topics through the controller, and answers
// once the change can be used here; has partitions' leaders delete records.
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "broker/routing/partition_client.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class AdminService {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    ClusterView& view;
    ControllerClient& controllers;
    PartitionClient& partitions;
  };

  explicit AdminService(const Environment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);
  // Calls that wait are not answered any more.
  void Stop() { lifetime_.End(); }

 private:
  template <typename Request, typename Reply>
  using Ask = void (ControllerClient::*)(const ControllerClient::Asker&, const Request&,
                                         ControllerReplied<Reply>);
  // Asks the controller, then waits for `change_of`(view, request, reply) to be here.
  template <typename Request, typename Reply, typename ChangeOf>
  void Change(std::shared_ptr<Call> call, Ask<Request, Reply> ask, ChangeOf change_of);
  void DeleteRecords(std::shared_ptr<Call> call);

  const Environment environment_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

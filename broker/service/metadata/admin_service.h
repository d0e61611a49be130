// millrace.v1.AdminService: creates and deletes topics through the controller, and answers once the
// change can be used here.
//
// Owned by the Node, on the shard's thread.
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
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
  };

  explicit AdminService(const Environment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);
  // Calls that wait are not answered any more.
  void Stop() { lifetime_.End(); }

 private:
  void CreateTopic(std::shared_ptr<Call> call);
  void DeleteTopic(std::shared_ptr<Call> call);
  ControllerClient::Asker AskerOf(const Call& call) const;

  const Environment environment_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

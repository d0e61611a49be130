// Gives producer ids away: from a block of numbers that the controller gave this broker, and that
// is refilled when it is used up, one block for all who wait.
//
// Part of ProducerService, on the shard's thread.
//
//   ids.Give(asker, [](Result<ProducerId> id) { ... });
#pragma once

#include <cstdint>
#include <vector>

#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class ProducerIds {
 public:
  using Done = MoveFunction<void(Result<ProducerId>)>;

  // Both outlive this.
  ProducerIds(const ClusterView& view, ControllerClient& controllers)
      : view_(&view), controllers_(&controllers) {}

  // An id that nobody ever had. UNAVAILABLE while it cannot be had; the time is the asker's who
  // came first.
  void Give(const ControllerClient::Asker& asker, Done done);

 private:
  Result<ProducerId> Next();
  void Refill(const ControllerClient::Asker& asker);

  const ClusterView* view_;
  ControllerClient* controllers_;
  // Numbers, [next, end), that are this broker's to give.
  uint64_t next_number_ = 0;
  uint64_t end_ = 0;
  std::vector<Done> waiting_;  // for the next block
  Lifetime lifetime_;
};

}  // namespace millrace::broker

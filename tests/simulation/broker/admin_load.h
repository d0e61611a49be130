// Makes and deletes small topics, one after the other, as long as a run's chaos lasts, so that the
// controller's log grows past its segments; and changes meanwhile how the topic that is used ends
// its segments. Whether a call succeeds decides nothing: what is left
// behind is a topic like any other, and must be the same everywhere.
//
// Owned by a run; one thread.
#pragma once

#include <cstdint>
#include <string>

#include "client/core/client.h"
#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/sim_connector.h"

namespace millrace::sim {

class AdminLoad {
 public:
  AdminLoad(SimWorld& world, SimCluster& cluster, Random random);

  void Start() { Create(); }
  // The last call may take effect yet.
  void Stop() { is_stopped_ = true; }

 private:
  void Create();
  void Alter();
  void Delete();
  // Soon, unless this was stopped.
  void Next(void (AdminLoad::*step)());
  std::string topic() const { return "small" + std::to_string(number_); }

  Random random_;
  SimProcess& process_;
  SimConnector connector_;
  client::Client client_;
  uint64_t number_ = 0;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

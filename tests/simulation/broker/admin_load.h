// Makes and deletes small topics, one after the other, as long as a run's chaos lasts, so that the
// controller's log grows past its segments; and changes meanwhile how the topic that is used ends
// its segments, and gives it more partitions. Whether a call succeeds decides nothing: what is left
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
  // `partitions` are those that the topic that is used is made with.
  AdminLoad(SimWorld& world, SimCluster& cluster, uint32_t partitions, Random random);

  void Start() { Create(); }
  // The last call may take effect yet.
  void Stop() { is_stopped_ = true; }

 private:
  void Create();
  void Alter();
  void Grow();
  bool IsAnyAway() const;
  void Delete();
  // Soon, unless this was stopped.
  void Next(void (AdminLoad::*step)());
  std::string topic() const { return "small" + std::to_string(number_); }

  SimCluster& cluster_;
  Random random_;
  // How many partitions there are at least; it is given more until there are so many.
  uint32_t partitions_;
  const uint32_t partitions_max_;
  SimClient own_;
  uint64_t number_ = 0;
  bool is_stopped_ = false;
};

}  // namespace millrace::sim

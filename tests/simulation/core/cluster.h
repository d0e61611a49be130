// One run of the core-level simulator: three to five real cores on modelled disks and a modelled
// network, from one seed. Its life has three phases:
//
//   chaos      faults as the seed's swarm has them, under load
//   majority   a majority is healthy, the others are down, cut off, or deaf but talking: it must
//              elect a leader and commit
//   all        everyone is healthy: all logs must become equal and committed
//
// The oracle watches every step. One thread; no real clock.
//
//   Outcome outcome = Simulate(42);
//   if (!outcome.ok()) std::cerr << outcome.anomaly.name;
#pragma once

#include <cstdint>
#include <string>

#include "tests/simulation/core/oracle.h"
#include "tests/simulation/core/statistics.h"
#include "tests/simulation/core/swarm.h"

namespace millrace::simulation::core {

struct Outcome {
  Anomaly anomaly;
  Statistics statistics;
  Swarm swarm;
  int64_t simulated_us = 0;

  bool ok() const { return anomaly.name.empty(); }
};

Outcome Simulate(uint64_t seed);

}  // namespace millrace::simulation::core

// One simulated run of whole brokers from one seed. Its phases:
//
//   chaos      the faults of the seed's swarm, under load
//   majority   as many brokers as may fail are dead, cut off or stopped, the others healthy: every
//              partition must acknowledge again, within a bound of simulated time
//   all        everyone is healthy: everything acknowledged is there, once and in order, is read
//              back, and the replicas are equal
//
//   RunResult result = RunSeed({.seed = 7});
//   EXPECT_THAT(result.anomalies, IsEmpty()) << result.Rerun();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raft/runtime/clock.h"
#include "tests/simulation/broker/run_options.h"

namespace millrace::sim {

struct RunResult {
  std::vector<std::string> anomalies;
  uint64_t trace_hash = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t deletions = 0;
  uint64_t kills = 0;
  uint64_t power_losses = 0;
  uint64_t partitions = 0;
  uint64_t leader_changes = 0;
  std::vector<uint64_t> calls;  // of each broker's file system, until all faults were healed
  std::string failed_call;  // "read journal/00000001.1048576.journal", if one was to fail and did
  // How long a healthy majority took to acknowledge again.
  Duration recovery{};
  Duration simulated{};
  std::string swarm;
};

RunResult RunSeed(const RunOptions& options);

}  // namespace millrace::sim

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
#include <set>
#include <string>
#include <vector>

#include "raft/runtime/clock.h"
#include "tests/simulation/broker/swarm.h"

namespace millrace::sim {

struct RunOptions {
  uint64_t seed = 1;
  // 0: as the seed says.
  size_t brokers = 0;
  Duration chaos = std::chrono::seconds(15);
  // Classes of faults that are left out, to shrink a failure.
  std::set<FaultClass> without;
  // The n-th file-system call of the first broker, whatever it is, fails; 0 for none.
  uint64_t fail_call = 0;
  // For the log of a single run.
  bool is_verbose = false;

  // The command that runs this again.
  std::string Rerun(const std::string& mutant = "") const;
};

struct RunResult {
  std::vector<std::string> anomalies;
  uint64_t trace_hash = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t kills = 0;
  uint64_t power_losses = 0;
  uint64_t partitions = 0;
  uint64_t leader_changes = 0;
  uint64_t calls = 0;  // of the first broker's file system
  // How long a healthy majority took to acknowledge again.
  Duration recovery{};
  Duration simulated{};
  std::string swarm;
};

RunResult RunSeed(const RunOptions& options);

}  // namespace millrace::sim

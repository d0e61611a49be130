// One simulated run of whole brokers from one seed: chaos under load, then everything heals, then
// every acknowledged record must be there, once and in order, and the replicas must be equal.
//
//   RunResult result = RunSeed({.seed = 7});
//   EXPECT_THAT(result.anomalies, IsEmpty()) << result.Rerun();
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raft/runtime/clock.h"

namespace millrace::sim {

struct RunOptions {
  uint64_t seed = 1;
  size_t brokers = 3;
  Duration chaos = std::chrono::seconds(20);
  // For the log of a single run.
  bool is_verbose = false;
};

struct RunResult {
  uint64_t seed = 0;
  std::vector<std::string> anomalies;
  uint64_t trace_hash = 0;
  uint64_t acknowledged = 0;
  uint64_t reads = 0;
  uint64_t kills = 0;
  uint64_t power_losses = 0;
  uint64_t partitions = 0;
  uint64_t leader_changes = 0;
  Duration simulated{};

  // The command that runs this seed again.
  std::string Rerun(const std::string& mutant = "") const;
};

RunResult RunSeed(const RunOptions& options);

}  // namespace millrace::sim

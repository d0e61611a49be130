// What one seed is made of: how many voters, and which classes of faults happen and how often. Each
// class is on for about half of the seeds, so that some seeds dwell on few faults (swarm testing).
//
// A value; any thread.
#pragma once

#include <cstdint>
#include <string>

#include "raft/runtime/random.h"

namespace millrace::simulation::core {

struct Swarm {
  uint32_t voters = 3;
  // Crashes that lose what the disk had not finished; of all replicas at once in a power cut.
  bool crashes = false;
  bool power_cuts = false;
  // Symmetric splits, links cut in one direction, and a bridge: one that sees two groups which do
  // not see each other.
  bool partitions = false;
  bool one_way_cuts = false;
  bool bridges = false;
  bool broken_connections = false;
  // A process that stands still for a while, its disk and the world going on.
  bool pauses = false;
  bool slow_disks = false;
  // A host that campaigns or gives up leadership on its own account.
  bool host_commands = false;
  // Entries leave the tail once committed, and followers behind it are served from the disk; and
  // what every replica has is dropped.
  bool trims = false;
  // One message in this many; 0 for none.
  uint32_t drop_one_in = 0;
  uint32_t duplicate_one_in = 0;
  uint32_t reorder_one_in = 0;
  int64_t fault_interval_us = 0;
  int64_t proposal_interval_us = 0;
  int64_t latency_us_max = 0;

  static Swarm Draw(Random random);
  // "voters=3 crashes partitions drop=1/50 ...".
  std::string ToString() const;
};

}  // namespace millrace::simulation::core

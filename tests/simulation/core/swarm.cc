#include "tests/simulation/core/swarm.h"

#include <utility>

namespace millrace::simulation::core {

Swarm Swarm::Draw(Random random) {
  Swarm swarm;
  swarm.voters = static_cast<uint32_t>(random.Between(3, 5));
  for (bool* fault : {&swarm.crashes, &swarm.partitions, &swarm.one_way_cuts, &swarm.bridges,
                      &swarm.broken_connections, &swarm.pauses, &swarm.slow_disks, &swarm.trims}) {
    *fault = random.OneIn(2);
  }
  swarm.power_cuts = random.OneIn(3);
  swarm.host_commands = random.OneIn(3);
  for (uint32_t* one_in : {&swarm.drop_one_in, &swarm.duplicate_one_in, &swarm.reorder_one_in}) {
    if (random.OneIn(2)) *one_in = static_cast<uint32_t>(random.Between(5, 200));
  }
  swarm.fault_interval_us = static_cast<int64_t>(random.Between(100'000, 2'000'000));
  swarm.proposal_interval_us = static_cast<int64_t>(random.Between(5'000, 80'000));
  swarm.latency_us_max = static_cast<int64_t>(random.Between(1'000, 20'000));
  return swarm;
}

std::string Swarm::ToString() const {
  std::string text = "voters=" + std::to_string(voters);
  const std::pair<bool, const char*> faults[] = {{crashes, "crashes"},
                                                 {power_cuts, "power_cuts"},
                                                 {partitions, "partitions"},
                                                 {one_way_cuts, "one_way_cuts"},
                                                 {bridges, "bridges"},
                                                 {broken_connections, "broken_connections"},
                                                 {pauses, "pauses"},
                                                 {slow_disks, "slow_disks"},
                                                 {host_commands, "host_commands"},
                                                 {trims, "trims"}};
  for (const auto& [is_on, name] : faults) {
    if (is_on) text += std::string(" ") + name;
  }
  const std::pair<uint32_t, const char*> rates[] = {
      {drop_one_in, "drop"}, {duplicate_one_in, "duplicate"}, {reorder_one_in, "reorder"}};
  for (const auto& [one_in, name] : rates) {
    if (one_in != 0) text += std::string(" ") + name + "=1/" + std::to_string(one_in);
  }
  return text;
}

}  // namespace millrace::simulation::core

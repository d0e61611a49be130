// Makes trouble: from time to time one of the classes of faults that the seed's swarm has on, each
// with its own end.
//
// Owned by Cluster, for the time of its chaos phase.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/core/replica.h"
#include "tests/simulation/core/swarm.h"

namespace millrace::simulation::core {

class Nemesis {
 public:
  Nemesis(World* world, const Swarm& swarm, Random random,
          std::vector<std::unique_ptr<SimReplica>>* replicas);

  void Start();
  // No new faults; those under way stay until Cluster heals them.
  void Stop() { is_on_ = false; }

 private:
  using Fault = void (Nemesis::*)();

  void ScheduleNext();
  int64_t Span(uint64_t low_us, uint64_t high_us);
  size_t Anyone() { return random_.Below(replicas_.size()); }
  // Runs `end` after `span_us`, unless Cluster has taken over by then.
  void Until(int64_t span_us, std::function<void()> end);
  void CrashFor(size_t at, int64_t span_us);
  // Cuts what `is_cut` says of (from, to), and heals everything some time later.
  void Cut(const std::function<bool(size_t, size_t)>& is_cut);

  void CrashOne();
  void CutPower();
  void Partition();
  void CutOneWay();
  void Bridge();
  void BreakConnection();
  void Pause();
  void SlowDisk();
  void CommandHost();
  void Trim();

  World* world_;
  Random random_;
  std::vector<std::unique_ptr<SimReplica>>& replicas_;
  std::vector<Fault> faults_;
  int64_t interval_us_;
  bool is_on_ = false;
};

}  // namespace millrace::simulation::core

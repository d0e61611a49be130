// The clients: proposals of different sizes, now and then a burst, and reads, given to whoever
// believes to lead.
//
// Owned by Cluster.
#pragma once

#include <memory>
#include <vector>

#include "raft/runtime/random.h"
#include "tests/simulation/core/replica.h"
#include "tests/simulation/core/swarm.h"

namespace millrace::simulation::core {

class Workload {
 public:
  Workload(EventQueue* queue, const Swarm& swarm, Random random,
           std::vector<std::unique_ptr<SimReplica>>* replicas)
      : queue_(queue),
        random_(random),
        replicas_(*replicas),
        interval_us_(static_cast<uint64_t>(swarm.proposal_interval_us)) {}

  void Start() {
    is_on_ = true;
    ScheduleNext();
  }
  void Stop() { is_on_ = false; }

 private:
  void ScheduleNext() {
    queue_->After(static_cast<int64_t>(random_.Between(1, 2 * interval_us_)), [this] {
      if (!is_on_) return;
      ActOnce();
      ScheduleNext();
    });
  }

  void ActOnce() {
    const bool is_read = random_.OneIn(8);
    const uint64_t burst = random_.OneIn(20) ? random_.Between(2, 30) : 1;
    // Two may believe to lead at a time; both are asked.
    for (auto& replica : replicas_) {
      if (!replica->is_leader()) continue;
      if (is_read) replica->Read();
      for (uint64_t at = 0; at < burst && replica->is_leader(); ++at) {
        replica->Propose(random_.Between(10, 300));
      }
    }
  }

  EventQueue* queue_;
  Random random_;
  std::vector<std::unique_ptr<SimReplica>>& replicas_;
  uint64_t interval_us_;
  bool is_on_ = false;
};

}  // namespace millrace::simulation::core

// Whether replicas are equal, as they must become once all is healed: the same log from the first
// entry to the last, high watermark and state; of every partition that there is, and of the
// controllers.
//
// Owned by a run; one thread. It asks and changes nothing.
//
//   EqualityCheck check(cluster);
//   check.SetDamaged(2);        // its disk may lack anything
//   world.RunUntil([&] { return check.Holds(); }, 60s);
#pragma once

#include <optional>
#include <set>
#include <utility>

#include "tests/simulation/broker/cluster.h"

namespace millrace::sim {

class EqualityCheck {
 public:
  explicit EqualityCheck(SimCluster& cluster) : cluster_(cluster) {}

  // Nothing is asked of that broker any more.
  void SetDamaged(size_t broker) { damaged_.insert(broker); }
  // One replica stopped for good: of that broker the others are compared still.
  void SetStopped(size_t broker, RaftGroupId group) { stopped_ = {broker, group}; }
  bool has_stopped(size_t broker) const { return stopped_ && stopped_->first == broker; }
  bool Holds() const;

 private:
  bool IsExempt(size_t broker, RaftGroupId group) const;
  bool IsSameLog(RaftGroupId group, size_t a, size_t b) const;
  bool IsSamePartition(const broker::PartitionInfo& partition, size_t a, size_t b) const;
  bool IsAsOthers(size_t broker, const broker::Controller& controller) const;

  SimCluster& cluster_;
  std::set<size_t> damaged_;
  std::optional<std::pair<size_t, RaftGroupId>> stopped_;
};

}  // namespace millrace::sim

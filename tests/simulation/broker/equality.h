// Whether replicas are equal, as they must become once all is healed: the same log up to the last
// entry, high watermark, log start and state, and none lacks what lies behind that start; of every
// partition that there is, and of the controllers. Each drops its segments by itself.
//
// Owned by a run; one thread. It asks and changes nothing.
//
//   EqualityCheck check(cluster);
//   check.SetDamaged(2);        // its disk may lack anything
//   world.RunUntil([&] { return check.Holds(); }, 60s);
#pragma once

#include <set>

#include "tests/simulation/broker/cluster.h"

namespace millrace::sim {

class EqualityCheck {
 public:
  explicit EqualityCheck(SimCluster& cluster) : cluster_(cluster) {}

  // Nothing is asked of that broker any more.
  void SetDamaged(size_t broker) { damaged_.insert(broker); }
  bool Holds() const;

 private:
  bool IsSameLog(RaftGroupId group, size_t a, size_t b) const;
  bool KeepsWhatIsRead(RaftGroupId group, const broker::Partition& partition, size_t broker) const;
  bool IsSameShard(RaftGroupId group, size_t a, size_t b) const;
  bool IsSamePartition(const broker::PartitionInfo& partition, size_t a, size_t b) const;
  bool IsAsOthers(size_t broker, const broker::Controller& controller) const;

  SimCluster& cluster_;
  std::set<size_t> damaged_;
};

}  // namespace millrace::sim

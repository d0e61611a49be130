// Holds acknowledgements against what the disks would certainly keep if all power went now.
//
// Owned by a run; one thread. Reading whole disks is dear: Check is called at the very instant for
// some acknowledgements, within a fraction of a second for the others, and always before anything
// is taken away.
//
//   DurabilityCheck check(cluster, history);
//   check.SetReplicas(partition, group, brokers);
//   check.Acknowledged({.partition = 1, .value = value, .offset = Offset(7)});
//   check.Check();
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {

struct PartitionReplicas {
  RaftGroupId group;
  std::vector<size_t> brokers;
};

class DurabilityCheck {
 public:
  DurabilityCheck(const SimCluster& cluster, History& history)
      : cluster_(cluster), history_(history) {}

  void SetReplicas(uint32_t partition, PartitionReplicas replicas) {
    replicas_[partition] = std::move(replicas);
  }
  // From now on the broker's disk may have less than it acknowledged: it is believed.
  void SetDamaged(size_t broker) { damaged_.insert(broker); }
  void Acknowledged(const Acknowledgement& acknowledgement) {
    unchecked_.push_back(acknowledgement);
  }
  void Check();

 private:
  class Disks;

  bool HasMajority(const Acknowledgement& ack, const PartitionReplicas& replicas,
                   Disks& disks) const;

  const SimCluster& cluster_;
  History& history_;
  std::map<uint32_t, PartitionReplicas> replicas_;
  std::set<size_t> damaged_;
  std::vector<Acknowledgement> unchecked_;
};

}  // namespace millrace::sim

// Where the replicas of the topic that is used say that its logs start, held against what may be
// gone: what a client asked to delete, what is older than the topic's retention time, what is more
// than its retention bytes. And whether replicas that applied the same say the same.
//
// Owned by a run; one thread. It asks and changes nothing.
//
//   LogStartCheck check(world, cluster, swarm, history);
//   check.SetReplicas(partition, replicas);
//   check.Acknowledged(acknowledgement);
//   check.DeletionAsked(partition, before);
//   check.Observe();
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "tests/simulation/broker/cluster.h"
#include "tests/simulation/broker/durability.h"
#include "tests/simulation/broker/history.h"
#include "tests/simulation/broker/swarm.h"
#include "tests/simulation/broker/workload.h"

namespace millrace::sim {

class LogStartCheck {
 public:
  LogStartCheck(const SimWorld& world, SimCluster& cluster, const Swarm& swarm, History& history)
      : world_(world), cluster_(cluster), swarm_(swarm), history_(history) {}

  void SetReplicas(uint32_t partition, PartitionReplicas replicas) {
    partitions_[partition].replicas = std::move(replicas);
  }
  // Nothing is asked of that broker any more.
  void SetDamaged(size_t broker) { damaged_.insert(broker); }
  void Acknowledged(const Acknowledgement& acknowledgement);
  void DeletionAsked(uint32_t partition, Offset before);
  void Observe();
  // Whether retention has nothing left to do. To be asked when all is healed and nobody writes.
  bool IsRetained() const;

 private:
  struct Record {
    Duration sent_at{};
    uint64_t bytes = 0;
  };
  struct Log {
    PartitionReplicas replicas;
    std::vector<std::optional<Record>> records;  // by offset; those that were acknowledged
    Offset asked;                                // the largest that somebody may have deleted to
    Offset gone;                                 // the largest start that was seen
    // By what was applied: the start and the end then.
    std::map<LogIndex, std::pair<Offset, Offset>> states;
  };

  const broker::Partition* Find(const Log& log, size_t broker, LogIndex* applied) const;
  void Judge(uint32_t partition, Log& log, Offset start, Offset end);
  bool MayHaveExpired(const Log& log, Offset from, Offset to) const;
  bool MayBeTooMany(const Log& log, Offset start, Offset end) const;
  uint64_t BytesKept(const Log& log, Offset start, Offset end) const;

  const SimWorld& world_;
  SimCluster& cluster_;
  const Swarm swarm_;
  History& history_;
  std::set<size_t> damaged_;
  std::map<uint32_t, Log> partitions_;
};

}  // namespace millrace::sim

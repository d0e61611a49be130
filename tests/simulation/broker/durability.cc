#include "tests/simulation/broker/durability.h"

#include <algorithm>
#include <optional>
#include <string>

namespace millrace::sim {

// The logs' ends on each broker's disk, read when somebody asks: who has a majority needs no more.
class DurabilityCheck::Disks {
 public:
  explicit Disks(const SimCluster& cluster) : cluster_(cluster), ends_(cluster.size()) {}

  std::optional<Offset> EndOf(size_t broker, RaftGroupId group) {
    if (!ends_[broker].has_value()) ends_[broker] = cluster_.DurableEnds(broker);
    const auto found = ends_[broker]->find(group);
    if (found == ends_[broker]->end()) return std::nullopt;
    return found->second;
  }

 private:
  const SimCluster& cluster_;
  std::vector<std::optional<std::map<RaftGroupId, Offset>>> ends_;
};

bool DurabilityCheck::HasMajority(const Acknowledgement& ack, const PartitionReplicas& replicas,
                                  Disks& disks) const {
  size_t durable = 0;
  for (const size_t broker : replicas.brokers) {
    // Nothing is below an end that is not there.
    const bool has_it = damaged_.contains(broker) ||
                        disks.EndOf(broker, replicas.group).value_or(Offset()) > ack.offset;
    if (has_it && ++durable > replicas.brokers.size() / 2) return true;
  }
  return false;
}

void DurabilityCheck::Check() {
  if (unchecked_.empty()) return;
  Disks disks(cluster_);
  for (const Acknowledgement& ack : unchecked_) {
    const PartitionReplicas& replicas = replicas_.at(ack.partition);
    if (HasMajority(ack, replicas, disks)) continue;
    std::string where;
    for (const size_t broker : replicas.brokers) {
      const std::optional<Offset> end = disks.EndOf(broker, replicas.group);
      where += " " + cluster_.host(broker) + "=" +
               (end.has_value() ? std::to_string(end->value()) : "none");
    }
    history_.SawUndurable(ack.value.Text() + " at offset " + std::to_string(ack.offset.value()) +
                          " of partition " + std::to_string(ack.partition) +
                          "; the disks' logs end at" + where);
  }
  unchecked_.clear();
}

}  // namespace millrace::sim

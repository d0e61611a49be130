#include "tests/simulation/broker/durability.h"

#include <algorithm>
#include <string>

namespace millrace::sim {

void DurabilityCheck::Check() {
  if (unchecked_.empty()) return;
  std::vector<std::map<RaftGroupId, Offset>> ends;
  for (size_t i = 0; i < cluster_.size(); ++i) ends.push_back(cluster_.DurableEnds(i));
  for (const Acknowledgement& ack : unchecked_) {
    const PartitionReplicas& replicas = replicas_.at(ack.partition);
    const auto durable =
        std::count_if(replicas.brokers.begin(), replicas.brokers.end(), [&](size_t broker) {
          auto end = ends[broker].find(replicas.group);
          if (damaged_.contains(broker)) return true;
          return end != ends[broker].end() && end->second > ack.offset;
        });
    if (static_cast<size_t>(durable) <= replicas.brokers.size() / 2) {
      std::string where;
      for (const size_t broker : replicas.brokers) {
        const auto end = ends[broker].find(replicas.group);
        where += " " + cluster_.host(broker) + "=" +
                 (end == ends[broker].end() ? "none" : std::to_string(end->second.value()));
      }
      history_.SawUndurable(ack.value.Text() + " at offset " + std::to_string(ack.offset.value()) +
                            " of partition " + std::to_string(ack.partition) +
                            "; the disks' logs end at" + where);
    }
  }
  unchecked_.clear();
}

}  // namespace millrace::sim

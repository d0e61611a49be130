#include "tests/simulation/broker/equality.h"

#include <algorithm>
#include <optional>

namespace millrace::sim {

// Without its controller a broker does not know what it should have.
bool EqualityCheck::IsSameLog(RaftGroupId group, size_t a, size_t b) const {
  const raft::Replica* ours = cluster_.node(a).host().Find(group);
  const raft::Replica* theirs = cluster_.node(b).host().Find(group);
  const auto is_there = [](const raft::Replica* one) {
    return one != nullptr && one->has_joined();
  };
  if (!is_there(ours) || !is_there(theirs)) return false;
  const auto& log = ours->core().log();
  const auto& other = theirs->core().log();
  return log.last_index() == other.last_index() && log.last_chain() == other.last_chain();
}

// What its log holds no more lies below where readers begin.
bool EqualityCheck::KeepsWhatIsRead(RaftGroupId group, const broker::Partition& partition,
                                    size_t broker) const {
  const raft::Replica* replica = cluster_.node(broker).host().Find(group);
  return replica != nullptr && replica->has_joined() &&
         replica->core().log().begin().next_offset <= partition.log_start();
}

bool EqualityCheck::IsSamePartition(const broker::PartitionInfo& partition, size_t a,
                                    size_t b) const {
  const broker::Partition* ours = cluster_.node(a).replicas().Find(partition.group);
  const broker::Partition* theirs = cluster_.node(b).replicas().Find(partition.group);
  return ours != nullptr && theirs != nullptr &&
         ours->high_watermark() == theirs->high_watermark() &&
         ours->log_start() == theirs->log_start() && KeepsWhatIsRead(partition.group, *ours, a) &&
         KeepsWhatIsRead(partition.group, *theirs, b) &&
         ours->TakeSnapshot()().view() == theirs->TakeSnapshot()().view() &&
         IsSameLog(partition.group, a, b);
}

bool EqualityCheck::IsSameShard(RaftGroupId group, size_t a, size_t b) const {
  const broker::CoordinatorShard* ours = cluster_.node(a).replicas().FindShard(group);
  const broker::CoordinatorShard* theirs = cluster_.node(b).replicas().FindShard(group);
  return ours != nullptr && theirs != nullptr &&
         ours->TakeSnapshot()().view() == theirs->TakeSnapshot()().view() && IsSameLog(group, a, b);
}

bool EqualityCheck::IsAsOthers(size_t index, const broker::Controller& controller) const {
  auto& node = cluster_.node(index);
  if (node.controller().TakeSnapshot()().view() != controller.TakeSnapshot()().view()) return false;
  const broker::Image& image = controller.image();
  size_t expected = 0;
  for (const auto& [id, topic] : image.topics()) {
    for (const broker::PartitionInfo& partition : topic->partitions) {
      const auto is_here = [&](const Voter& voter) { return voter.broker.value() == index + 1; };
      if (std::none_of(partition.replicas.begin(), partition.replicas.end(), is_here)) continue;
      ++expected;
      for (const Voter& voter : partition.replicas) {
        const size_t other = voter.broker.value() - 1;
        if (damaged_.contains(other)) continue;
        const bool is_same = topic->is_internal() ? IsSameShard(partition.group, index, other)
                                                  : IsSamePartition(partition, index, other);
        if (!is_same) return false;
      }
    }
  }
  return node.replicas().partitions().size() + node.replicas().shards().size() == expected;
}

bool EqualityCheck::Holds() const {
  std::optional<size_t> first;
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (damaged_.contains(i)) continue;
    if (!cluster_.is_serving(i) || !cluster_.process(i).is_alive()) return false;
    if (!first.has_value()) first = i;
    if (!IsSameLog(kControllerGroup, *first, i)) return false;
  }
  if (!first.has_value()) return true;
  const broker::Controller& controller = cluster_.node(*first).controller();
  for (size_t i = 0; i < cluster_.size(); ++i) {
    if (!damaged_.contains(i) && !IsAsOthers(i, controller)) return false;
  }
  return true;
}

}  // namespace millrace::sim

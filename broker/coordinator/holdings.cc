#include "broker/coordinator/holdings.h"

#include <string>
#include <utility>

namespace millrace::broker {
namespace {

// What a node of a map costs beside what it holds.
constexpr size_t kNodeBytes = 64;

template <typename Change>
Holdings ChangeEach(const Holdings& holdings, Change change) {
  Holdings changed;
  for (const auto& [epoch, assignment] : holdings) {
    Assignment left = change(assignment);
    if (!left.empty()) changed.emplace_hint(changed.end(), epoch, std::move(left));
  }
  return changed;
}

}  // namespace

Assignment PartitionsOf(const Holdings& holdings) {
  Assignment all;
  for (const auto& [epoch, assignment] : holdings) all = Union(all, assignment);
  return all;
}

Holdings Intersection(const Holdings& holdings, const Assignment& partitions) {
  return ChangeEach(holdings, [&](const Assignment& one) { return Intersection(one, partitions); });
}

Holdings Difference(const Holdings& holdings, const Assignment& partitions) {
  return ChangeEach(holdings, [&](const Assignment& one) { return Difference(one, partitions); });
}

Holdings Union(const Holdings& a, const Holdings& b) {
  Holdings all = a;
  for (const auto& [epoch, assignment] : b) {
    Assignment& of_epoch = all[epoch];
    of_epoch = Union(of_epoch, assignment);
  }
  return all;
}

std::optional<uint32_t> EpochIn(const Holdings& holdings, const TopicPartition& partition) {
  for (const auto& [epoch, assignment] : holdings) {
    if (Contains(assignment, partition)) return epoch;
  }
  return std::nullopt;
}

void Save(const Assignment& assignment, SavedAssignment* saved) {
  for (const auto& [topic, partitions] : assignment) {
    internal::v1::TopicRuns& runs = *saved->Add();
    runs.set_topic_id(topic.value());
    partitions.AppendTo(runs.mutable_runs());
  }
}

Result<Assignment> LoadAssignment(const SavedAssignment& saved) {
  Assignment assignment;
  for (const internal::v1::TopicRuns& one : saved) {
    const Result<PartitionRuns> runs = PartitionRuns::Parse(one.runs());
    if (!runs.ok() || runs->empty() || !assignment.emplace(one.topic_id(), *runs).second) {
      return DataLoss("a coordinator's record has no set of partitions for topic " +
                      std::to_string(one.topic_id()));
    }
  }
  return assignment;
}

void Save(const Holdings& holdings, SavedHoldings* saved) {
  for (const auto& [epoch, assignment] : holdings) {
    internal::v1::HeldRuns& held = *saved->Add();
    held.set_assigned_epoch(epoch);
    Save(assignment, held.mutable_topics());
  }
}

Result<Holdings> LoadHoldings(const SavedHoldings& saved) {
  Holdings holdings;
  for (const internal::v1::HeldRuns& held : saved) {
    ASSIGN_OR_RETURN(Assignment assignment, LoadAssignment(held.topics()));
    const bool is_right = !assignment.empty() &&
                          Intersection(PartitionsOf(holdings), assignment).empty() &&
                          holdings.emplace(held.assigned_epoch(), std::move(assignment)).second;
    if (!is_right) return DataLoss("a coordinator's record tells what a member has twice");
  }
  return holdings;
}

size_t BytesOf(const Assignment& assignment) {
  size_t bytes = 0;
  for (const auto& [topic, partitions] : assignment) {
    bytes += kNodeBytes + partitions.run_count() * sizeof(PartitionRun);
  }
  return bytes;
}

size_t BytesOf(const Holdings& holdings) {
  size_t bytes = 0;
  for (const auto& [epoch, assignment] : holdings) bytes += kNodeBytes + BytesOf(assignment);
  return bytes;
}

}  // namespace millrace::broker

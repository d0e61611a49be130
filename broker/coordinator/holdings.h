// What a member of a group has: partitions, and for each the epoch in which it got it.
//
// Values and pure functions; any thread.
//
//   Holdings kept = Intersection(member.assigned, member.target);
//   if (EpochIn(kept, {topic, partition}) == 7) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include <google/protobuf/repeated_ptr_field.h>

#include "broker/coordinator/partition_runs.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// By epoch. No assignment is empty, and no partition is in two.
using Holdings = std::map<uint32_t, Assignment>;

Assignment PartitionsOf(const Holdings& holdings);
Holdings Intersection(const Holdings& holdings, const Assignment& partitions);
Holdings Difference(const Holdings& holdings, const Assignment& partitions);  // without these
Holdings Union(const Holdings& a, const Holdings& b);
// In which epoch the member got it; none if it has not.
std::optional<uint32_t> EpochIn(const Holdings& holdings, const TopicPartition& partition);

// As they stand in records. DATA_LOSS for what nobody wrote.
using SavedAssignment = google::protobuf::RepeatedPtrField<internal::v1::TopicRuns>;
using SavedHoldings = google::protobuf::RepeatedPtrField<internal::v1::HeldRuns>;
void Save(const Assignment& assignment, SavedAssignment* saved);
Result<Assignment> LoadAssignment(const SavedAssignment& saved);
void Save(const Holdings& holdings, SavedHoldings* saved);
Result<Holdings> LoadHoldings(const SavedHoldings& saved);

// What they take in memory, about.
size_t BytesOf(const Assignment& assignment);
size_t BytesOf(const Holdings& holdings);

}  // namespace millrace::broker

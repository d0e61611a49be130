// What brokers told of a group, as the public library's rows, and what a program asks for, as
// brokers take it.
//
// Pure; any thread.
//
//   return internal::OffsetRowsOf(survey);
#pragma once

#include <vector>

#include "client/core/groups.h"
#include "millrace/groups.h"
#include "proto/base/status.h"

namespace millrace::internal {

// Sorted by topic and partition.
std::vector<CommittedOffset> CommittedRowsOf(const v1::FetchOffsetsResponse& fetched);
// The same: every partition that is committed or was told where it ends, once.
std::vector<GroupOffset> OffsetRowsOf(const client::OffsetsSurvey& survey);
GroupLag LagRowsOf(const v1::DescribeLagResponse& described);
std::vector<MovedOffset> MovedRowsOf(const v1::ResetOffsetsResponse& reset);

// A topic once, with all of its partitions.
void FillCommits(const std::vector<OffsetCommit>& offsets,
                 google::protobuf::RepeatedPtrField<v1::TopicCommit>* out);
void FillPartitions(const TopicPartitions& partitions,
                    google::protobuf::RepeatedPtrField<v1::TopicPartitions>* out);
// INVALID_ARGUMENT unless it is said once where to.
Result<v1::ResetOffsetsRequest> RequestOf(const std::string& group, const GroupReset& reset);

}  // namespace millrace::internal

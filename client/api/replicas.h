// Replicas as programs are told of them: what was asked of all brokers, a row for each replica.
//
// Pure; any thread.
//
//   rows = RowsOf(survey);
//   verification = Told(partition, verified);
#pragma once

#include <vector>

#include "client/core/replica_survey.h"
#include "client/core/verification.h"
#include "millrace/admin.h"

namespace millrace::internal {

// As Admin::DescribeReplicas answers.
std::vector<ReplicaDescription> RowsOf(const client::ReplicaSurvey& survey);
// As Admin::VerifyPartition answers.
PartitionVerification Told(uint32_t partition, const client::Verification& verified);

}  // namespace millrace::internal

// Replicas as programs are told of them: what was asked of all brokers, a row for each replica.
//
// Pure; any thread.
//
//   rows = RowsOf(survey);
#pragma once

#include <vector>

#include "client/core/replica_survey.h"
#include "millrace/admin.h"

namespace millrace::internal {

// As Admin::DescribeReplicas answers.
std::vector<ReplicaDescription> RowsOf(const client::ReplicaSurvey& survey);

}  // namespace millrace::internal

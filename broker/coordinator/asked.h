// What the coordinator's servers are given: a request, and whom to answer.
//
//   void FetchOffsets(RaftGroupId shard, Asked<v1::FetchOffsetsRequest> request,
//                     CoordinatorReplied<v1::FetchOffsetsResponse> done);
#pragma once

#include <memory>

#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// Shared by all who look at it while it is served.
template <typename Request>
using Asked = std::shared_ptr<const Request>;
template <typename Reply>
using CoordinatorReplied = MoveFunction<void(Result<Reply>)>;

}  // namespace millrace::broker

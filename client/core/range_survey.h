// Where partitions of several topics start and end, as far as readers of what is committed too:
// each topic is a call of its own, some at a time.
//
// On the client's executor; the client outlives the call, or `done` is not called.
//
//   SurveyRanges(client, {{topic_id, {0, 3}}}, timeout, [](RangesByTopic ranges) { ... });
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "client/core/client.h"
#include "millrace/v1/consumer_service.pb.h"
#include "proto/base/status.h"
#include "raft/runtime/task.h"

namespace millrace::client {

// By topic_id, since a topic of the same name that came later is another; no partitions: all.
using PartitionsByTopic = std::map<uint64_t, std::vector<uint32_t>>;
// By topic_id, of each topic that was asked for; or why it is not known.
using RangesByTopic = std::map<uint64_t, Result<v1::ListOffsetsResponse>>;

// Calls `done` within `timeout`. Partitions without a leader are asked for until then, and have an
// error.
void SurveyRanges(Client& client, PartitionsByTopic topics, Duration timeout,
                  MoveFunction<void(RangesByTopic)> done);

}  // namespace millrace::client

// What every broker that has replicas of a topic knows of its own: all are asked at the same time,
// once each, and one that does not answer holds nobody up for long.
//
// On the client's executor.
//
//   SurveyReplicas(client, {.topic = "flights"}, timeout, [](Result<ReplicaSurvey> survey) { ... });
#pragma once

#include <map>
#include <optional>
#include <string>

#include "client/core/client.h"
#include "millrace/v1/admin_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::client {

struct ReplicaSurvey {
  v1::Topic topic;  // of its partitions those that were asked for
  // Of each broker that should have a replica of them: what it tells, or why it does not.
  std::map<BrokerId, Result<v1::DescribeReplicasResponse>> brokers;
  // Of all brokers: HOST:PORT. Empty where it is not known.
  std::map<BrokerId, std::string> addresses;
};

struct SurveyRequest {
  std::string topic;
  std::optional<PartitionId> partition = {};  // none: all
};

// `done` within `timeout`. NOT_FOUND if there is no such topic or partition. A broker has
// ClientOptions::attempt_timeout for each of its answers. The client outlives the call, or `done`
// is not called.
void SurveyReplicas(Client& client, const SurveyRequest& request, Duration timeout,
                    ResponseDone<ReplicaSurvey> done);

}  // namespace millrace::client

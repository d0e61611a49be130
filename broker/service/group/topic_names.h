// Topics as clients name them, and as the coordinator keeps them: by id.
//
// On the shard's thread.
//
//   RETURN_IF_ERROR(ResolveTopics(view, request.mutable_topics()));
#pragma once

#include "broker/routing/cluster_view.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

using NamedPartitions = google::protobuf::RepeatedPtrField<v1::TopicPartitions>;

// Gives each topic its id. NOT_FOUND (UNKNOWN_TOPIC, UNKNOWN_PARTITION) for what is not there;
// INVALID_ARGUMENT for what is named twice, for more than 10,000 partitions, and for a topic of
// Millrace's own.
Status ResolveTopics(const ClusterView& view, NamedPartitions* topics);

// Gives each topic of a commit its id. What is not there is taken out, and told in `response`.
// INVALID_ARGUMENT for more than 10,000 partitions.
Status ResolveCommits(const ClusterView& view, v1::CommitOffsetsRequest* request,
                      v1::CommitOffsetsResponse* response);

// The names of the topics, by their ids; those of topics that are not there any more are taken out.
void NameTopics(const ClusterView& view, v1::FetchOffsetsResponse* response);

}  // namespace millrace::broker

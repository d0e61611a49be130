// A topic as clients are told of it.
//
// Pure; on the shard's thread.
//
//   DescribeTopic(view, topic, response.mutable_topic());
#pragma once

#include "broker/routing/cluster_view.h"
#include "millrace/v1/metadata_service.pb.h"

namespace millrace::broker {

void DescribeTopic(const ClusterView& view, const TopicInfo& topic, v1::Topic* out);

}  // namespace millrace::broker

// One Produce stream: batches of many partitions, each given to its leader, and their results in
// order per partition.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/api/stream.h"
#include "broker/service/produce/environment.h"

namespace millrace::broker {

std::unique_ptr<StreamHandler> MakeProduceStream(const ProduceEnvironment& environment,
                                                 std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

// One Fetch stream: the partitions that its client reads, the bytes that it may still be sent, and
// what each partition is doing: finding its position, reading, or waiting for data.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/api/stream.h"
#include "broker/service/fetch/environment.h"

namespace millrace::broker {

std::unique_ptr<StreamHandler> MakeFetchStream(const FetchEnvironment& environment,
                                               std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

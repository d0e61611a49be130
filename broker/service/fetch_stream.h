// One Fetch stream: the partitions that its client reads, the bytes that it may still be sent, and
// what each partition is doing: finding its position, reading, or waiting for data.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/service/call.h"
#include "broker/service/context.h"

namespace millrace::broker {

class ConsumerService;

// `context` and `service` outlive the stream.
std::unique_ptr<StreamHandler> MakeFetchStream(ServiceContext& context, ConsumerService& service,
                                               std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

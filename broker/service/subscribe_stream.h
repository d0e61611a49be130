// One Subscribe call: the records of some partitions of one topic, sent as the transport takes
// them, wherever their leaders are and whoever becomes leader meanwhile.
//
//   each partition:  locate -> read -> deliver -> read ...      an error that passes: wait, go on
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/service/call.h"
#include "broker/service/context.h"

namespace millrace::broker {

class ConsumerService;

// `context` and `service` outlive the stream.
std::unique_ptr<StreamHandler> MakeSubscribeStream(ServiceContext& context,
                                                   ConsumerService& service,
                                                   std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

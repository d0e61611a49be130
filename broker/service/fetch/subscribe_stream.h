// One Subscribe call: the records of some partitions of one topic, sent as the transport takes
// them (partition_reader.h). Who reads all of a topic without an end reads what it gets, too.
//
// On the shard's thread.
#pragma once

#include <memory>

#include "broker/api/stream.h"
#include "broker/service/fetch/environment.h"

namespace millrace::broker {

std::unique_ptr<StreamHandler> MakeSubscribeStream(const FetchEnvironment& environment,
                                                   std::shared_ptr<Stream> stream);

}  // namespace millrace::broker

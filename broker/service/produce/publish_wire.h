// Reads a PublishRequest and makes batches of its records. The records stay where they are in the
// message until they are copied into a batch: a few MiB of tiny ones must not become objects of
// many times that.
//
// Pure; any thread. Views live as long as the message.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct PublishRequestView {
  std::string topic;
  TopicId topic_id;
  std::optional<PartitionId> partition;
  std::optional<Offset> expected_end;     // with a partition
  std::vector<std::string_view> records;  // each a serialized Record, not looked into
};

// INVALID_ARGUMENT if the bytes are no PublishRequest, have no records or more than
// kNamedPerMessageMax, so that the answer is bounded too; or an expected end without a partition.
Result<PublishRequestView> ParsePublishRequest(const Bytes& message);

// A serialized RecordBatch of typed records, without a producer id. Pre: not empty.
Bytes EncodeTypedBatch(const std::vector<std::string_view>& records);

}  // namespace millrace::broker

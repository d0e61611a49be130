// Reads a ProduceRequest without touching the batches' bytes: they stay where they are, in the
// message's buffer (design D2: a payload is copied to get there, and into its frame, and no more).
//
// Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct ProduceBatchView {
  std::string topic;
  TopicId topic_id;
  PartitionId partition;
  uint64_t batch_id = 0;
  Bytes batch;  // serialized RecordBatch
  bool is_repeated = false;
  std::optional<Offset> expected_end = {};
};

struct ProduceRequestView {
  std::optional<std::string> init_client_id;
  std::vector<ProduceBatchView> batches;
};

// INVALID_ARGUMENT if the bytes are no ProduceRequest, or a batch has its payload twice.
Result<ProduceRequestView> ParseProduceRequest(const Bytes& message);

}  // namespace millrace::broker

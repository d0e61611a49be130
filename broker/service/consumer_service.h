// millrace.v1.ConsumerService: Fetch streams with byte credits over many partitions, reading from
// leaders here or one hop away, and the offsets of partitions.
//
// Owned by the Node, on the shard's thread; lives as long as streams may.
#pragma once

#include <memory>
#include <optional>

#include "broker/service/batch_rewrite.h"
#include "broker/service/call.h"
#include "broker/service/context.h"
#include "millrace/v1/consumer_service.pb.h"

namespace millrace::broker {

// A read's answer, wherever it came from: batches as pieces ready to be sent.
struct RemoteRead {
  PartitionOffsets offsets;
  Offset next_offset;
  std::vector<Bytes> batches;
};

// The time that `position` asks for, if it does.
std::optional<int64_t> TimestampOf(const v1::Position& position);
// Where a reader of `position` begins, given what Offsets told of TimestampOf(position).
Offset StartOf(const v1::Position& position, const PartitionOffsets& offsets);

class ConsumerService {
 public:
  explicit ConsumerService(ServiceContext& context) : context_(&context) {}
  void Register(ServiceRegistry* registry);

  // Reads committed batches from `offset` on, waiting up to `wait` for the first if there is none.
  // What is not accepted is rewritten by the leader; then bytes_max is of what is sent.
  void Read(RaftGroupId group, const ReadRequest& request, AcceptedForms accepted, Duration wait,
            MoveFunction<void(Result<RemoteRead>)> done);
  // The offsets after a read barrier at the leader; see Partition::Offsets. Another broker has
  // `time_max` to answer.
  void Offsets(RaftGroupId group, std::optional<int64_t> timestamp_ms, Duration time_max,
               OffsetsDone done);

 private:
  void ListOffsets(std::shared_ptr<Call> call);
  void ServeRead(Bytes body, ForwardDone done);
  void ServeOffsets(Bytes body, ForwardDone done);

  ServiceContext* context_;
};

}  // namespace millrace::broker

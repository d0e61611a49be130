// Publish calls: the records of each go to their partitions as one batch a partition, and the
// answer tells of each record once all batches are stored, refused, or out of time.
//
// Part of ProducerService, on the shard's thread; lives as long as calls may.
//
//   publisher.Serve(std::move(call));
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "broker/api/call.h"
#include "broker/service/produce/environment.h"
#include "broker/service/produce/publish_wire.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class Publisher {
 public:
  // Bytes of unanswered calls past which others are refused.
  static constexpr uint64_t kInflightBytesMax = 64 << 20;
  // A call's time, if its client gives it more or no limit.
  static constexpr Duration kTimeMax = std::chrono::seconds(30);

  explicit Publisher(const ProduceEnvironment& environment) : environment_(environment) {}

  void Serve(std::shared_ptr<Call> call);
  // Calls that wait are not answered any more.
  void Stop() { lifetime_.End(); }

 private:
  // The numbers of a request's records, by partition.
  using Groups = std::map<PartitionId, std::vector<size_t>>;
  class Answer;

  // INVALID_ARGUMENT naming the record, NOT_FOUND naming the partition.
  Result<Groups> Split(const PublishRequestView& request, const TopicInfo& topic);
  PartitionId PickPartition(const TopicInfo& topic);

  const ProduceEnvironment environment_;
  uint64_t inflight_bytes_ = 0;
  uint32_t picks_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

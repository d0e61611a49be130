// millrace.v1.ConsumerService: Fetch streams with byte credits over many partitions, Subscribe
// calls, and the offsets of partitions, from leaders here or one hop away.
//
// Owned by the Node, on the shard's thread; lives as long as streams may.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/service/fetch/environment.h"
#include "millrace/v1/consumer_service.pb.h"

namespace millrace::broker {

class ConsumerService {
 public:
  explicit ConsumerService(const FetchEnvironment& environment) : environment_(environment) {}
  void Register(ServiceRegistry* registry);

 private:
  struct Asked {
    PartitionId partition;
    RaftGroupId group;
  };
  class OffsetsAnswer;

  void ListOffsets(std::shared_ptr<Call> call);
  // The partitions that are asked about: those that are named, or all.
  Result<std::vector<Asked>> FindPartitions(const v1::ListOffsetsRequest& request) const;

  const FetchEnvironment environment_;
};

}  // namespace millrace::broker

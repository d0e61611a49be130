// millrace.v1.ProducerService: takes batches from Produce streams and Publish calls, gives each to
// the partition's leader, here or one hop away, and answers in order per partition.
//
// Owned by the Node, on the shard's thread; lives as long as streams may.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "broker/service/call.h"
#include "broker/service/context.h"
#include "broker/service/produce_wire.h"
#include "broker/service/publisher.h"
#include "millrace/v1/producer_service.pb.h"

namespace millrace::broker {

class ProducerService {
 public:
  // Bytes of unanswered batches on one stream past which reading from it stops.
  static constexpr uint64_t kInflightBytesMax = 8 << 20;

  explicit ProducerService(ServiceContext& context)
      : context_(&context), publisher_(context, *this) {}
  void Register(ServiceRegistry* registry);

  // Appends to the partition of `group`, wherever its leader is. `done` as Partition::Produce says.
  void Produce(RaftGroupId group, SentBatch batch, ProduceDone done);

 private:
  void InitProducer(std::shared_ptr<Call> call);
  void GiveProducerId(std::shared_ptr<Call> call);
  void Refill();
  void ServeForwarded(Bytes body, ForwardDone done);

  ServiceContext* context_;
  Publisher publisher_;
  // Numbers of producer ids, [next, end), that the controller gave this broker to give away.
  uint64_t next_producer_number_ = 0;
  uint64_t producer_numbers_end_ = 0;
  // Calls that wait for the next block.
  std::vector<std::shared_ptr<Call>> numbers_wanted_;
};

}  // namespace millrace::broker

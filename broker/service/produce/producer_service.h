// millrace.v1.ProducerService: takes batches from Produce streams and records from Publish calls,
// gives each to the partition's leader, here or one hop away, and answers in order per partition.
//
// Owned by the Node, on the shard's thread; lives as long as streams may.
#pragma once

#include <memory>

#include "broker/api/call.h"
#include "broker/api/service_registry.h"
#include "broker/service/produce/environment.h"
#include "broker/service/produce/producer_ids.h"
#include "broker/service/produce/publisher.h"
#include "millrace/v1/producer_service.pb.h"

namespace millrace::broker {

class ProducerService {
 public:
  explicit ProducerService(const ProduceEnvironment& environment)
      : environment_(environment),
        publisher_(environment),
        producer_ids_(environment.view, environment.controllers) {}
  void Register(ServiceRegistry* registry);
  // Calls that wait are not answered any more.
  void Stop() { publisher_.Stop(); }

 private:
  void InitProducer(std::shared_ptr<Call> call);
  void GiveProducerId(std::shared_ptr<Call> call);
  void InitTransactions(std::shared_ptr<Call> call, const v1::InitProducerRequest& request);

  const ProduceEnvironment environment_;
  Publisher publisher_;
  ProducerIds producer_ids_;
};

}  // namespace millrace::broker

// The public services of one broker, put together.
//
// Owned by the Node, on the shard's thread; lives as long as calls and streams may.
//
//   ClientServices services(environment, facts);
//   GrpcEdge edge(options, shard, clock, {.registry = services.registry(), ...});
#pragma once

#include "broker/api/client_memory.h"
#include "broker/api/service_registry.h"
#include "broker/partition/batch_worker.h"
#include "broker/replicas/replica_set.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "broker/routing/coordinator_client.h"
#include "broker/routing/partition_client.h"
#include "broker/service/consume/consume_service.h"
#include "broker/service/fetch/consumer_service.h"
#include "broker/service/group/group_service.h"
#include "broker/service/metadata/admin_service.h"
#include "broker/service/metadata/describe_replicas.h"
#include "broker/service/metadata/metadata_service.h"
#include "broker/service/metadata/replica_digests.h"
#include "broker/service/produce/producer_service.h"
#include "broker/service/transaction/transaction_service.h"
#include "raft/host/host.h"
#include "raft/ports/transport.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/random.h"

namespace millrace::broker {

class ClientServices {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    const raft::Transport& transport;
    BatchWorker& batches;
    ClientMemory& memory;
    ClusterView& view;
    ControllerClient& controllers;
    PartitionClient& partitions;
    CoordinatorClient& coordinators;
    const ReplicaSet& replicas;  // those here
    const raft::Host& host;
    Digester& digester;
  };

  ClientServices(const Environment& environment, const MetadataService::Facts& facts,
                 Random random);
  ClientServices(const ClientServices&) = delete;
  ClientServices& operator=(const ClientServices&) = delete;

  ServiceRegistry& registry() { return registry_; }
  // Calls that wait are not answered any more.
  void Stop();

 private:
  MetadataService metadata_;
  AdminService admin_;
  ReplicaDescriber replicas_;
  ReplicaDigests digests_;
  ProducerService producer_;
  ConsumerService consumer_;
  GroupService group_;
  ConsumeService consume_;
  TransactionService transactions_;
  ServiceRegistry registry_;
};

}  // namespace millrace::broker

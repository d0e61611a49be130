// One broker without the world around it: the controller's replica, the partitions, the services
// and the Raft host, put together over a Transport, a LogStore and an Identity. main.cc gives it
// the real ones, the simulator its own; the Node can't tell.
//
// Start, then: bootstrap with the other controllers (once in a cluster's life), join the
// controller's group, register, serve. Everything on the shard's thread.
//
//   Node node(options, environment, std::move(recovered));
//   node.Start([](Status fatal) { ... });          // called if this broker can't go on
//   GrpcEdge edge(options, shard, clock, broker);  // serves node.registry()
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "broker/api/client_memory.h"
#include "broker/controller/bootstrap.h"
#include "broker/controller/controller.h"
#include "broker/controller/controller_server.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/coordinator_server.h"
#include "broker/coordinator/partition_ends.h"
#include "broker/coordinator/producer_fencer.h"
#include "broker/coordinator/slot_producer_ids.h"
#include "broker/coordinator/transaction_server.h"
#include "broker/node/client_services.h"
#include "broker/node/identity.h"
#include "broker/partition/batch_worker.h"
#include "broker/replicas/replica_set.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/controller_client.h"
#include "broker/routing/coordinator_client.h"
#include "broker/routing/forwarder.h"
#include "broker/routing/leader_table.h"
#include "broker/routing/marker_client.h"
#include "broker/routing/partition_client.h"
#include "broker/routing/transaction_registry.h"
#include "broker/routing/unread_client.h"
#include "raft/host/host.h"
#include "raft/ports/log_store.h"
#include "raft/ports/transport.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

struct NodeOptions {
  std::string cluster_name;
  // HOST:PORT that clients are told.
  std::string client_address;
  // HOST:PORT that brokers are told; empty if it is not known.
  std::string internal_address;
  // Told to everybody, for people.
  std::string software_version;
  // The controllers' ids, this broker's included.
  std::vector<BrokerId> members;
  // What clients may make this broker hold.
  uint64_t client_memory_bytes_max = uint64_t{256} << 20;
  // What clients are told that a message may have.
  uint64_t message_bytes_max = 4 << 20;
  // And how many calls and streams a connection.
  uint64_t streams_per_connection_max = 1'000;
  // Of a topic that does not say; 0: what the table of topics' settings has.
  uint64_t segment_bytes = 0;
  ProducerLimits producers;
  CompactorOptions compaction;
  uint64_t verify_bytes_per_second = 640 << 20;
  // Of the coordinator's topic, of a cluster that has none yet; 0: it gets none.
  uint32_t coordinator_shards = 16;
  CoordinatorLimits coordinator;
  // A secret drawn for the cluster, should it have none yet (broker/controller/producer_id.h).
  std::string producer_id_key;
  // `self` and `boot_epoch` are filled in from the identity.
  raft::HostOptions host;
};

class Node final : public raft::TransportHandler {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    raft::Transport& transport;
    raft::LogStore& log_store;
    Identity& identity;
    // Where compressed batches are checked and rewritten (broker/partition/batch_worker.h).
    Executor& batch_executor;
  };
  using OnFatal = MoveFunction<void(Status)>;

  Node(const NodeOptions& options, const Environment& environment,
       std::vector<raft::RecoveredReplica> recovered, Random random);
  ~Node() override;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  // `on_fatal` is called at most once, if this broker can't go on (wiped, refused by its cluster).
  void Start(OnFatal on_fatal);
  // Halts all replicas; nothing is called back after: calls that wait stay without an answer, which
  // is the edge's to give.
  void Stop();
  // Calls `task` once this broker is registered and its image is as new as anybody's when it asked.
  void OnceReady(Task task);
  bool is_ready() const { return is_ready_; }

  ServiceRegistry& registry() { return services_.registry(); }
  ClientMemory& client_memory() { return client_memory_; }
  raft::Host& host() { return host_; }
  const Controller& controller() const { return controller_; }
  const ReplicaSet& replicas() const { return replicas_; }
  const LeaderTable& leaders() const { return leaders_; }
  const ClusterView& view() const { return view_; }

  void OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                     raft::core::Message message) override;
  void OnPeerMessage(const BrokerIncarnation& from, raft::PeerKind kind, Bytes body) override;
  void OnPeerConnected(const raft::PeerIdentity& peer) override;
  void OnPeerDisconnected(BrokerId peer, const Status& why) override;
  void OnPeerRefused(const Status& why) override;

 private:
  // For clients: not ok where the controller's replica here is silent.
  Status ControllerHealth() const;
  // What log lines call a replica; by the topic's id where the name is not known (yet).
  // In a participant that may be led here.
  void EndTransaction(RaftGroupId group, const TransactionEnd& end, raft::StatusDone done);
  std::string NameOf(const raft::ReplicaRecord& record) const;
  void CarryOutBootstrap();
  void StartGroups();
  void StartController(std::optional<raft::RecoveredReplica> recovered);
  void OnImageChanged(const ImageChange& change);
  void KeepLevel();
  void OnLeadership(RaftGroupId group, const raft::Leadership& leadership);
  internal::v1::BrokerRegistered Registration() const;
  void Register();
  void CheckController();
  void CheckReady();
  void CheckReadySoon();
  void SendLeaderReport(BrokerId to, const std::vector<internal::v1::GroupLeader>& leaders);
  std::vector<internal::v1::GroupLeader> LedGroups() const;
  void ReportRegularly();
  void TendReplicas();
  void TakeLeaderReport(BrokerId from, const Bytes& body);
  void Fatal(Status why);
  BrokerId self() const { return environment_.identity.self().broker; }

  NodeOptions options_;
  Environment environment_;
  // Goes last: whatever waits for an answer holds some of it.
  ClientMemory client_memory_;
  std::vector<raft::RecoveredReplica> recovered_;
  raft::Host host_;
  Controller controller_;
  LeaderTable leaders_;
  Forwarder forwarder_;
  BatchWorker batches_;
  Turns lookups_;
  ProducerMemory producer_memory_;
  CoordinatorMemory coordinator_memory_;
  TransactionRegistry registrar_;
  ReplicaSet replicas_;
  Bootstrap bootstrap_;
  ClusterView view_;
  ControllerServer controller_server_;
  ControllerClient controllers_;
  PartitionClient partition_client_;
  PartitionEnds ends_;
  UnreadClient unread_client_;
  MarkerClient markers_;
  SlotProducerIds slot_producers_;
  TransactionServer transactions_;
  MemberServer members_;
  LagServer lags_;
  CoordinatorServer coordinator_server_;
  ProducerFencer fencer_;
  CoordinatorClient coordinators_;
  Digester digester_;
  ClientServices services_;

  std::map<BrokerId, BootEpoch> connected_;
  std::vector<Task> ready_listeners_;
  OnFatal on_fatal_;
  bool is_started_ = false;
  bool is_controller_lost_ = false;  // to damage, without a trace of the replica
  bool is_ready_ = false;
  bool is_registering_ = false;
  bool does_clock_differ_ = false;  // by the last verdict that there was
  // Where the controller's log was when this boot's registration was answered.
  std::optional<LogIndex> caught_up_at_;
  TimerId register_timer_;
  TimerId report_timer_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

// A whole broker but for its gRPC edge: identity, storage, peers and the Node, opened in order from
// the injected world. main.cc gives it threads, disks and sockets; the simulator gives it modelled
// ones.
//
// On the shard's thread; storage's work runs on the executors that it is given.
//
//   Broker broker(options, environment);
//   broker.Start([](Status opened) { ... });   // then broker.node() exists
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "broker/node/node.h"
#include "broker/node/superblock_identity.h"
#include "raft/net/peer_transport.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/network.h"
#include "storage/file/file_system.h"
#include "storage/logstore/log_store.h"

namespace millrace::broker {

struct BrokerOptions {
  BrokerId broker;
  std::string cluster_name;
  std::string client_address;
  Endpoint internal_listen;
  // Told to peers, for people.
  std::string software_version;
  // Every controller's internal address, this broker's included.
  std::map<BrokerId, Endpoint> controllers;
  uint64_t client_memory_bytes_max = uint64_t{256} << 20;
  raft::HostOptions host;
  storage::LogStoreOptions log_store;
  uint64_t message_bytes_max = 4 << 20;
  uint64_t streams_per_connection_max = 1'000;
  ProducerLimits producers;
  CompactorOptions compaction;
  uint64_t verify_bytes_per_second = 640 << 20;
  uint32_t coordinator_shards = 16;  // NodeOptions::coordinator_shards
  CoordinatorLimits coordinator;
};

class Broker {
 public:
  struct Environment {
    Executor& shard;
    const Clock& clock;
    Network& network;
    Executor& journal_executor;
    storage::FileSystem& journal_files;  // bound to journal_executor
    Executor& segment_executor;
    storage::FileSystem& segment_files;  // bound to segment_executor
    Executor& batch_executor;            // checks and rewrites compressed batches
    uint64_t random_seed = 1;
    std::function<uint64_t()> entropy;  // for secrets
    // This broker can't go on. Called on the shard, at most once; it may destroy the broker later,
    // but not within.
    std::function<void(const Status&)> on_fatal;
  };

  Broker(const BrokerOptions& options, const Environment& environment);
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  // Opens everything; `done` with ok once peers can connect, or with what failed.
  void Start(MoveFunction<void(Status)> done);
  // Stops in the reverse order, marks the stop as clean; `done` once that is durable.
  void Stop(Task done);

  // Pre: Start succeeded.
  Node& node() { return *node_; }

 private:
  void OpenLogStore();
  void OpenNode(storage::JournalLogStore::Opened opened);
  void Fatal(const Status& status);

  const BrokerOptions options_;
  Environment environment_;
  Random random_;
  MoveFunction<void(Status)> started_;
  std::unique_ptr<SuperblockIdentity> identity_;
  std::unique_ptr<storage::JournalLogStore> log_store_;
  std::unique_ptr<raft::net::PeerTransport> transport_;
  std::unique_ptr<Node> node_;
  bool has_failed_ = false;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

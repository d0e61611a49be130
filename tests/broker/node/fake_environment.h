// What a Node stands on, in the hands of a test: an identity in memory, and a transport that keeps
// what it is given to send and is connected to whom the test says.
//
// One thread.
//
//   FakeIdentity identity(executor, {BrokerId(1), Incarnation(11)});
//   FakeTransport transport;
//   Node node(options, {executor, clock, transport, store, identity, executor}, {}, random);
#pragma once

#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/node/identity.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"

namespace millrace::broker {

class FakeIdentity final : public Identity {
 public:
  FakeIdentity(Executor& executor, const BrokerIncarnation& self)
      : executor_(&executor), self_(self) {}

  // How long each step takes to be durable.
  Duration write_time{0};
  // As a data directory that has been through the bootstrap.
  void Initialize(std::string_view cluster_name, std::vector<Voter> list) {
    controllers_ = std::move(list);
    cluster_uuid_ = ClusterUuid(cluster_name, controllers_);
  }

  BrokerIncarnation self() const override { return self_; }
  BootEpoch boot_epoch() const override { return BootEpoch(1); }
  Bootstrap::Stage stage() const override {
    if (controllers_.empty()) return Bootstrap::Stage::kFresh;
    return cluster_uuid_ == 0 ? Bootstrap::Stage::kListed : Bootstrap::Stage::kInitialized;
  }
  std::vector<Voter> controllers() const override { return controllers_; }
  uint64_t cluster_uuid() const override { return cluster_uuid_; }
  uint32_t cluster_level() const override { return cluster_level_; }
  void StoreControllers(const std::vector<Voter>& controllers, Task durable) override {
    controllers_ = controllers;
    executor_->RunAfter(write_time, std::move(durable));
  }
  void StoreClusterUuid(uint64_t cluster_uuid, Task durable) override {
    cluster_uuid_ = cluster_uuid;
    executor_->RunAfter(write_time, std::move(durable));
  }
  void StoreClusterLevel(uint32_t level, Task durable) override {
    cluster_level_ = level;
    executor_->RunAfter(write_time, std::move(durable));
  }

 private:
  Executor* executor_;
  BrokerIncarnation self_;
  std::vector<Voter> controllers_;
  uint64_t cluster_uuid_ = 0;
  uint32_t cluster_level_ = 0;
};

struct PeerMessage {
  BrokerId to;
  raft::PeerKind kind;
  Bytes body;
};

class FakeTransport final : public raft::Transport {
 public:
  // Sent so far, to brokers; Raft's are counted.
  std::vector<PeerMessage> sent;
  size_t raft_messages = 0;
  std::set<BrokerId> connected;
  std::vector<int64_t> wall_clocks;  // of the others
  // Told of each as it is sent.
  std::function<void(const PeerMessage&)> listener;

  void SendRaft(const raft::RaftRoute&, raft::core::Message, bool) override { ++raft_messages; }
  void SendPeer(BrokerId to, raft::Lane, raft::PeerKind kind, std::vector<Bytes> body) override {
    std::string whole;
    for (const Bytes& piece : body) whole += piece.view();
    sent.push_back({to, kind, Bytes::Own(std::move(whole))});
    if (listener) listener(sent.back());
  }
  bool IsConnected(BrokerId peer) const override { return connected.contains(peer); }
  bool IsDiskFull(BrokerId) const override { return false; }
  std::vector<int64_t> PeerWallClocksMs() const override { return wall_clocks; }
};

}  // namespace millrace::broker

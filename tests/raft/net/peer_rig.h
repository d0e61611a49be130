// Transports of up to three brokers in a simulated world, and strangers: what the tests of raft/net
// share.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "raft/net/peer_transport.h"
#include "tests/raft/net/entries.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::raft::net {

using std::chrono::milliseconds;
using std::chrono::seconds;

inline constexpr RaftGroupId kGroup{3};
inline constexpr uint16_t kPort = 7441;

struct Listening : TransportHandler {
  void OnRaftMessage(const Voter& from, RaftGroupId group, ReplicaNumber to,
                     core::Message message) override {
    EXPECT_TRUE(is_up[from.broker]) << "a message of a peer that is not connected";
    last_group = group;
    last_from = from;
    last_to = to;
    if (auto* append = std::get_if<core::AppendRequest>(&message)) {
      for (core::Entry& entry : append->entries) indexes.push_back(entry.index.value());
    } else {
      ++small_messages;
    }
  }
  void OnPeerMessage(const BrokerIncarnation&, PeerKind kind, Bytes body) override {
    EXPECT_EQ(kind, PeerKind::kForwardRequest);
    bodies.emplace_back(body.view());
  }
  void OnPeerConnected(const PeerIdentity& peer) override {
    is_up[peer.who.broker] = true;
    identity = peer;
    ++connects;
  }
  void OnPeerDisconnected(BrokerId peer, const Status& why) override {
    is_up[peer] = false;
    disconnected = why;
  }
  void OnPeerRefused(const Status& why) override { refusals.push_back(why); }

  std::map<BrokerId, bool> is_up;
  PeerIdentity identity;
  int connects = 0;
  Status disconnected;
  std::vector<Status> refusals;
  RaftGroupId last_group;
  Voter last_from;
  ReplicaNumber last_to;
  std::vector<uint64_t> indexes;
  int small_messages = 0;
  std::vector<std::string> bodies;
};

inline BrokerIncarnation WhoIs(uint32_t broker, uint64_t incarnation = 0) {
  return {BrokerId(broker), Incarnation(incarnation == 0 ? broker * 100 : incarnation)};
}

// From the sender's replica 5 to the receiver's replica 7.
inline RaftRoute RouteTo(uint32_t broker, uint64_t incarnation = 0) {
  const BrokerIncarnation who = WhoIs(broker, incarnation);
  return {.group = kGroup,
          .from = ReplicaNumber(5),
          .to = {who.broker, who.incarnation, ReplicaNumber(7)}};
}

inline core::AppendRequest AppendOf(uint64_t first, uint64_t count, size_t payload_size = 100) {
  core::AppendRequest append{.term = Term(1),
                             .prev_index = LogIndex(first - 1),
                             .prev_term = Term(1),
                             .commit_index = LogIndex(0),
                             .entries = {}};
  for (uint64_t index = first; index < first + count; ++index) {
    const uint32_t chain = append.entries.empty() ? 0 : append.entries.back().chain;
    append.entries.push_back(
        MakeEntry(kGroup, Term(1), LogIndex(index), std::string(payload_size, 'p'), chain));
  }
  return append;
}

inline PeerTransportOptions OptionsOf(uint32_t broker) {
  PeerTransportOptions options;
  options.self = {.who = WhoIs(broker), .boot_epoch = BootEpoch(1), .cluster_uuid = 77};
  options.cluster_name = "test";
  options.listen = {"b" + std::to_string(broker), kPort};
  for (uint32_t peer = 1; peer <= 3; ++peer) {
    options.peers[BrokerId(peer)] = {"b" + std::to_string(peer), kPort};
  }
  return options;
}

// A broker's transport in a simulated process.
struct Broker {
  Broker(sim::SimProcess& in, const PeerTransportOptions& options)
      : process(&in), transport(options, {in.executor(), in.clock(), in.network(), in.Fork()}) {
    const Status started = transport.Start(handler);
    CHECK(started.ok()) << started;
  }
  sim::SimProcess* process;
  Listening handler;
  PeerTransport transport;
};

class PeerTransportTest : public testing::Test {
 protected:
  Broker& Start(uint32_t broker) { return Start(broker, OptionsOf(broker)); }
  Broker& Start(uint32_t broker, const PeerTransportOptions& options) {
    sim::SimProcess& process = world_.AddProcess("b" + std::to_string(broker));
    brokers_[broker] = std::make_unique<Broker>(process, options);
    return *brokers_[broker];
  }
  bool RunUntilConnected(Broker& a, Broker& b, Duration limit = seconds(5)) {
    return world_.RunUntil(
        [&] { return a.transport.IsConnected(IdOf(b)) && b.transport.IsConnected(IdOf(a)); },
        limit);
  }
  BrokerId IdOf(const Broker& broker) const {
    for (const auto& [id, known] : brokers_) {
      if (known.get() == &broker) return BrokerId(id);
    }
    return {};
  }
  // Kills the process of `broker` and starts it again, with `options`.
  Broker& Restart(uint32_t broker, const PeerTransportOptions& options) {
    sim::SimProcess& process = *brokers_[broker]->process;
    process.Kill();
    brokers_[broker].reset();
    process.Restart();
    brokers_[broker] = std::make_unique<Broker>(process, options);
    return *brokers_[broker];
  }
  // Opens a connection to `broker` from a process of its own and sends `bytes`.
  struct Stranger : ConnectionHandler {
    void OnData(std::string_view bytes) override { received += bytes; }
    void OnClosed(const Status& status) override { closed = status; }
    std::unique_ptr<Connection> connection;
    std::string received;
    Status closed;
  };
  void SendAsStranger(const Broker& broker, const std::string& bytes) {
    if (stranger_process_ == nullptr) stranger_process_ = &world_.AddProcess("stranger");
    stranger_process_->network().Connect({broker.process->name(), kPort}, seconds(1),
                                         [this, bytes](Result<std::unique_ptr<Connection>> made) {
                                           stranger_.connection = std::move(made).value();
                                           stranger_.connection->SetHandler(&stranger_);
                                           stranger_.connection->Send({Bytes::CopyOf(bytes)});
                                         });
  }

  sim::SimWorld world_{21};
  std::map<uint32_t, std::unique_ptr<Broker>> brokers_;
  sim::SimProcess* stranger_process_ = nullptr;
  Stranger stranger_;
  std::vector<std::unique_ptr<Stranger>> strangers_;
};

}  // namespace millrace::raft::net

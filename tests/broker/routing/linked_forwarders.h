// The forwarders of two brokers that are connected. What they send waits until the test delivers
// it, so that nothing happens from within something else.
//
// One thread.
//
//   LinkedForwarders link(executor, BrokerId(1), BrokerId(2));
//   PartitionClient client({.forwarder = link.Of(BrokerId(2)), ...});
//   link.Deliver();
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "broker/routing/forwarder.h"
#include "raft/ports/transport.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {

class LinkedForwarders {
 public:
  LinkedForwarders(Executor& executor, BrokerId one, BrokerId other)
      : one_{one, *this, executor}, other_{other, *this, executor} {}

  Forwarder& Of(BrokerId broker) { return broker == one_.self ? one_.forwarder : other_.forwarder; }

  // All that was sent, and what that made them send.
  void Deliver() {
    while (!sent_.empty()) {
      const Sent sent = std::move(sent_.front());
      sent_.pop_front();
      ++delivered_;
      Forwarder& to = Of(sent.to);
      const BrokerId from = sent.to == one_.self ? other_.self : one_.self;
      if (sent.kind == raft::PeerKind::kForwardRequest) {
        to.OnRequest(from, sent.message);
      } else {
        to.OnReply(from, sent.message);
      }
    }
  }
  int delivered() const { return delivered_; }

 private:
  struct Sent {
    BrokerId to;
    raft::PeerKind kind;
    Bytes message;
  };
  struct End final : raft::Transport {
    End(BrokerId broker, LinkedForwarders& all, Executor& executor)
        : self(broker), link(&all), forwarder(executor, *this, BootEpoch(1)) {}
    void SendRaft(const raft::RaftRoute&, raft::core::Message, bool) override {}
    void SendPeer(BrokerId to, raft::Lane, raft::PeerKind kind, std::vector<Bytes> body) override {
      std::string whole;
      for (const Bytes& piece : body) whole += piece.view();
      link->sent_.push_back({to, kind, Bytes::Own(std::move(whole))});
    }
    bool IsDiskFull(BrokerId) const override { return false; }
    bool IsConnected(BrokerId) const override { return true; }
    std::vector<int64_t> PeerWallClocksMs() const override { return {}; }

    const BrokerId self;
    LinkedForwarders* link;
    Forwarder forwarder;
  };

  std::deque<Sent> sent_;
  int delivered_ = 0;
  End one_;
  End other_;
};

}  // namespace millrace::broker

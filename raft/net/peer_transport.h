// Transport over a Network's byte streams: the one place where brokers talk to each other. Listens
// for peers, sorts out strangers, and keeps a PeerSession for every configured one.
//
// Owned by the broker's wiring; everything on the shard's thread, and not destroyed inside one of
// the handler's callbacks. Knows nothing of Raft beyond the bytes of its messages.
//
//   PeerTransport transport(options, {executor, clock, network, random});
//   RETURN_IF_ERROR(transport.Start(handler));
//   transport.SendRaft(peer, group, std::move(message));
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "raft/net/options.h"
#include "raft/net/peer_session.h"
#include "raft/ports/transport.h"

namespace millrace::raft::net {

class PeerTransport final : public Transport, private LaneOwner {
 public:
  struct Environment {
    Executor& executor;
    const Clock& clock;
    Network& network;
    Random random;
  };

  PeerTransport(const PeerTransportOptions& options, const Environment& environment);
  ~PeerTransport() override;
  PeerTransport(const PeerTransport&) = delete;
  PeerTransport& operator=(const PeerTransport&) = delete;

  // Listens and begins to dial. UNAVAILABLE naming the endpoint if that is in use. `handler`
  // outlives this.
  Status Start(TransportHandler& handler);
  // Where it listens, with the real port. Pre: started.
  Endpoint endpoint() const { return listener_->endpoint(); }

  // Dropped and counted if `to` is not connected, as exactly this incarnation. Pre: not to itself.
  void SendRaft(const Voter& to, RaftGroupId group, core::Message message,
                bool bulk = false) override;
  void SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) override;
  bool IsConnected(BrokerId peer) const override;

  const PeerTransportStats& stats() const { return context_.stats; }

 private:
  struct Stranger {
    std::unique_ptr<LaneConnection> connection;
    TimerId deadline;
  };

  void OnAccept(std::unique_ptr<Connection> connection);
  void OnFrame(LaneConnection& lane, const PeerFrame& frame) override;
  void OnLaneClosed(LaneConnection& lane, const Status& why) override;
  // Whose Hello this is, and whether it gets its lane.
  Status Introduce(std::unique_ptr<LaneConnection>& lane, const PeerFrame& frame);
  std::unique_ptr<LaneConnection> TakeStranger(const LaneConnection& lane);
  void Refuse(std::unique_ptr<LaneConnection> lane, const Status& why);
  void OnKeepaliveTick();

  SessionContext context_;
  std::unique_ptr<Listener> listener_;
  std::map<uint64_t, Stranger> strangers_;  // by order of arrival
  uint64_t next_stranger_ = 1;
  std::map<BrokerId, std::unique_ptr<PeerSession>> sessions_;
  TimerId keepalive_timer_;
  MonotonicTime last_tick_{0};
};

}  // namespace millrace::raft::net

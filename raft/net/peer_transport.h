// Transport over a Network's byte streams: the one place where brokers talk to each other. Listens
// for peers, sorts out strangers, and keeps a PeerSession for every configured one.
//
// A stranger is a connection that has not said its Hello yet; there is room for so many. Peers say
// it at once, so a stranger that waits is none: where there is no room, the newcomer takes the
// place of the longest waiting one of the address that has most. Those from a configured peer's
// address make room for peers alone.
//
// Owned by the broker's wiring; everything on the shard's thread, and not destroyed inside one of
// the handler's callbacks. Knows nothing of Raft beyond the bytes of its messages.
//
//   PeerTransport transport(options, {executor, clock, network, random});
//   RETURN_IF_ERROR(transport.Start(handler));
//   transport.SendRaft({.group = group, .from = number, .to = voter}, std::move(message));
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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
  void SendRaft(const RaftRoute& route, core::Message message, bool bulk = false) override;
  void SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) override;
  bool IsConnected(BrokerId peer) const override;
  bool IsDiskFull(BrokerId peer) const override;
  std::vector<int64_t> PeerWallClocksMs() const override;

  // What the peer said of itself; nothing if it is not connected or has not said it yet.
  std::optional<PeerCondition> ConditionOf(BrokerId peer) const;

  PeerTransportStats stats() const;

 private:
  struct Stranger {
    std::unique_ptr<LaneConnection> connection;
    std::string host;
    TimerId deadline;
  };
  using Strangers = std::map<uint64_t, Stranger>;  // by order of arrival

  void OnAccept(std::unique_ptr<Connection> connection);
  // Whether one more stranger of `host` finds room: closes another one where there is none.
  bool MakeRoomFor(const std::string& host);
  // Among the strangers from peers' addresses, or among the others: of the address that has most,
  // the one that waits longest. The end if there is none.
  Strangers::iterator LongestWaitingOfMost(bool of_peers);
  // Whether connections from there have been a configured peer's.
  bool IsPeerHost(const std::string& host) const;
  // A line in the log, unless the stranger's address has had one in this minute.
  void Complain(const std::string& host, std::string_view what);
  void OnFrame(LaneConnection& lane, const PeerFrame& frame) override;
  void OnLaneClosed(LaneConnection& lane, const Status& why) override;
  // Whose Hello this is, and whether it gets its lane.
  Status Introduce(std::unique_ptr<LaneConnection>& lane, const PeerFrame& frame);
  std::unique_ptr<LaneConnection> TakeStranger(const LaneConnection& lane);
  void Refuse(std::unique_ptr<LaneConnection> lane, const Status& why);
  void OnKeepaliveTick();

  SessionContext context_;
  std::unique_ptr<Listener> listener_;
  Strangers strangers_;
  uint64_t next_stranger_ = 1;
  std::map<BrokerId, std::unique_ptr<PeerSession>> sessions_;
  TimerId keepalive_timer_;
  MonotonicTime last_tick_{0};
};

}  // namespace millrace::raft::net

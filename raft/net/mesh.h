// The Transport between brokers: three byte streams to each peer, one a lane, set up and kept up here.
//
// Of two brokers the one with the lower id dials. The three connections of one attempt carry the same
// session number and belong together: a peer is connected once all three have shaken hands, and loses all
// three when one breaks. A peer that is silent on the control lane for the keepalive time is given up, so
// that a cable pulled is noticed like a process killed.
//
// Owned by the Broker, on the shard's thread. What can't be sent is dropped, and Raft sends it again.
//
//   Mesh mesh(options, executor, network, clock, random);
//   RETURN_IF_ERROR(mesh.Start(handler));
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "millrace/internal/v1/peer.pb.h"
#include "raft/net/peer_frame.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/network.h"
#include "raft/runtime/random.h"

namespace millrace::raft::net {

struct MeshOptions {
  PeerIdentity self;
  // The cluster's UUID as known now; grows from 0 once, at the bootstrap.
  std::function<uint64_t()> cluster_uuid;
  std::string cluster_name;
  Endpoint listen;
  // Every controller's address; this broker's own is ignored.
  std::map<BrokerId, Endpoint> peers;
  Duration connect_timeout = std::chrono::milliseconds(500);
  Duration handshake_timeout = std::chrono::milliseconds(2000);
  Duration ping_interval = std::chrono::milliseconds(100);
  Duration keepalive = std::chrono::milliseconds(600);
  Duration backoff_min = std::chrono::milliseconds(20);
  Duration backoff_max = std::chrono::milliseconds(500);
  // Queued on one lane, past which messages are dropped.
  uint64_t pending_bytes_max = 64 << 20;
};

class Mesh final : public Transport {
 public:
  Mesh(const MeshOptions& options, Executor& executor, Network& network, const Clock& clock,
       Random random);
  ~Mesh() override;
  Mesh(const Mesh&) = delete;
  Mesh& operator=(const Mesh&) = delete;

  // Listens and begins to dial. UNAVAILABLE naming the address if it can't listen. `handler` outlives
  // the mesh.
  Status Start(TransportHandler& handler);

  void SendRaft(const Voter& to, RaftGroupId group, core::Message message, bool bulk) override;
  void SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) override;
  bool IsConnected(BrokerId peer) const override;

  uint64_t dropped_messages() const { return dropped_messages_; }

 private:
  class Link;
  struct Peer {
    BrokerId id;
    Endpoint endpoint;
    bool is_dialer = false;
    uint64_t session = 0;  // dialer's attempts; at the acceptor, the dialer's last
    BootEpoch session_epoch;
    std::array<std::shared_ptr<Link>, kLaneCount> links;  // shared with callbacks under way
    bool is_up = false;
    PeerIdentity identity;
    MonotonicTime last_heard{};
    Duration backoff{};
    TimerId dial_timer;
    millrace::internal::v1::GroupMessages control;  // this turn's
    bool is_flush_posted = false;
  };

  void Dial(Peer& peer);
  void DialLane(Peer& peer, Lane lane);
  void ScheduleDial(Peer& peer);
  void OnHello(const std::shared_ptr<Link>& link, const PeerFrame& frame);
  void OnDialerHello(const std::shared_ptr<Link>& link,
                     const millrace::internal::v1::Hello& hello);
  void OnAcceptorHello(const std::shared_ptr<Link>& link,
                       const millrace::internal::v1::Hello& hello);
  Status CheckHello(const millrace::internal::v1::Hello& hello) const;
  millrace::internal::v1::Hello MakeHello(BrokerId receiver, Lane lane, uint64_t session) const;
  void Refuse(const std::shared_ptr<Link>& link, const Status& why);
  void Attach(Peer& peer, const std::shared_ptr<Link>& link,
              const millrace::internal::v1::Hello& hello);
  void Drop(Peer& peer, const Status& why);
  void OnLinkClosed(const std::shared_ptr<Link>& link, const Status& why);
  // False if the frame was wrong; the link is then closed.
  bool OnFrame(const std::shared_ptr<Link>& link, const PeerFrame& frame);
  Status Deliver(Peer& peer, const PeerFrame& frame);
  Status DeliverGroupMessages(const Peer& peer, const PeerFrame& frame);
  void SendOn(Peer& peer, Lane lane, std::vector<Bytes> pieces);
  void FlushControl(Peer& peer);
  void KeepAlive();
  Peer* FindPeer(BrokerId id);

  const MeshOptions options_;
  Executor* executor_;
  Network* network_;
  const Clock* clock_;
  Random random_;
  TransportHandler* handler_ = nullptr;
  std::unique_ptr<Listener> listener_;
  std::map<BrokerId, Peer> peers_;
  std::map<uint64_t, std::shared_ptr<Link>> strangers_;  // accepted, handshake not done
  uint64_t next_stranger_ = 1;
  TimerId keepalive_timer_;
  uint64_t dropped_messages_ = 0;
  std::string last_refusal_;
  // Guards callbacks that outlive the mesh; shared with those alone.
  std::shared_ptr<bool> is_alive_ = std::make_shared<bool>(true);
};

}  // namespace millrace::raft::net

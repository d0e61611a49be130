#include "raft/net/mesh.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "raft/net/raft_codec.h"

namespace millrace::raft::net {
namespace {

constexpr uint32_t kFormatVersion = 1;
// Connections that have not said who they are.
constexpr size_t kStrangersMax = 64;

std::string BrokerName(BrokerId id) { return "broker " + std::to_string(id.value()); }

wire::Lane ToWire(Lane lane) { return static_cast<wire::Lane>(static_cast<int>(lane) + 1); }

template <typename Header>
Result<Header> ParseHeader(const PeerFrame& frame) {
  Header header;
  if (!header.ParseFromArray(frame.header.data(), static_cast<int>(frame.header.size()))) {
    return DataLoss("a peer frame's header cannot be read");
  }
  return header;
}

}  // namespace

// One connection. Belongs to a peer once its handshake is done.
class Mesh::Link final : public ConnectionHandler, public std::enable_shared_from_this<Link> {
 public:
  Link(Mesh& mesh, std::unique_ptr<Connection> connection)
      : mesh_(&mesh), reader_(kHandshakeFrameSizeMax), connection_(std::move(connection)) {
    connection_->SetHandler(this);
  }

  void OnData(std::string_view bytes) override {
    const std::shared_ptr<Link> self = shared_from_this();
    while (connection_ != nullptr) {
      Result<std::optional<PeerFrame>> frame = reader_.Next(bytes);
      if (!frame.ok()) {
        LOG(WARNING) << "a peer's bytes make no sense address=" << connection_->peer_address()
                     << " why=" << frame.status();
        return mesh_->OnLinkClosed(self, frame.status());
      }
      if (!frame->has_value()) return;
      if (!mesh_->OnFrame(self, **frame)) return;
    }
  }
  void OnClosed(const Status& status) override { mesh_->OnLinkClosed(shared_from_this(), status); }

  void Close() {
    mesh_->executor_->Cancel(handshake_timer);
    // Not destroyed within its own callback's stack by us: Close() ends callbacks.
    if (connection_) connection_->Close();
    mesh_->executor_->Post([connection = std::move(connection_)] {});
  }
  void Send(std::vector<Bytes> pieces) {
    if (connection_) connection_->Send(std::move(pieces));
  }
  size_t pending_bytes() const { return connection_ ? connection_->pending_bytes() : 0; }
  std::string address() const { return connection_ ? connection_->peer_address() : "closed"; }
  void HandshakeDone() {
    reader_.set_frame_size_max(kPeerFrameSizeMax);
    mesh_->executor_->Cancel(handshake_timer);
  }

  uint64_t stranger = 0;  // its number while it is one
  BrokerId peer;          // whom it is dialled to, or who it proved to be
  Lane lane = Lane::kControl;
  uint64_t session = 0;
  bool is_attached = false;
  TimerId handshake_timer;

 private:
  Mesh* mesh_;
  PeerFrameReader reader_;
  std::unique_ptr<Connection> connection_;
};

Mesh::Mesh(const MeshOptions& options, Executor& executor, Network& network, const Clock& clock,
           Random random)
    : options_(options),
      executor_(&executor),
      network_(&network),
      clock_(&clock),
      random_(random) {
  for (const auto& [id, endpoint] : options_.peers) {
    if (id == options_.self.voter.broker) continue;
    Peer& peer = peers_[id];
    peer.id = id;
    peer.endpoint = endpoint;
    peer.is_dialer = options_.self.voter.broker < id;
    peer.backoff = options_.backoff_min;
  }
}

Mesh::~Mesh() {
  *is_alive_ = false;
  executor_->Cancel(keepalive_timer_);
  for (auto& [id, peer] : peers_) {
    executor_->Cancel(peer.dial_timer);
    for (auto& link : peer.links) {
      if (link) link->Close();
    }
  }
  for (auto& [number, link] : strangers_) link->Close();
}

Status Mesh::Start(TransportHandler& handler) {
  handler_ = &handler;
  Result<std::unique_ptr<Listener>> listener = network_->Listen(
      options_.listen, [this, alive = is_alive_](std::unique_ptr<Connection> connection) {
        if (!*alive || strangers_.size() >= kStrangersMax) return;
        auto link = std::make_shared<Link>(*this, std::move(connection));
        link->stranger = next_stranger_++;
        strangers_[link->stranger] = link;
        link->handshake_timer =
            executor_->RunAfter(options_.handshake_timeout, [this, alive, link] {
              if (*alive) OnLinkClosed(link, DeadlineExceeded("no handshake in time"));
            });
      });
  if (!listener.ok()) return listener.status().With("listen for brokers");
  listener_ = std::move(*listener);
  for (auto& [id, peer] : peers_) {
    if (peer.is_dialer) Dial(peer);
  }
  KeepAlive();
  return {};
}

Mesh::Peer* Mesh::FindPeer(BrokerId id) {
  auto found = peers_.find(id);
  return found == peers_.end() ? nullptr : &found->second;
}

// --- setting up ---------------------------------------------------------------------------------------

void Mesh::Dial(Peer& peer) {
  ++peer.session;
  for (int lane = 0; lane < kLaneCount; ++lane) DialLane(peer, static_cast<Lane>(lane));
}

void Mesh::DialLane(Peer& peer, Lane lane) {
  network_->Connect(
      peer.endpoint, options_.connect_timeout,
      [this, id = peer.id, lane, session = peer.session,
       alive = is_alive_](Result<std::unique_ptr<Connection>> connection) {
        if (!*alive) return;
        Peer& dialled = *FindPeer(id);
        if (dialled.session != session) return;
        if (!connection.ok()) return Drop(dialled, connection.status());
        auto link = std::make_shared<Link>(*this, std::move(*connection));
        link->peer = id;
        link->lane = lane;
        link->session = session;
        dialled.links[static_cast<size_t>(lane)] = link;
        link->handshake_timer =
            executor_->RunAfter(options_.handshake_timeout, [this, alive, link] {
              if (*alive) OnLinkClosed(link, DeadlineExceeded("no handshake in time"));
            });
        link->Send({EncodePeerFrameHead(FrameKind::kHello, MakeHello(id, lane, session), 0)});
      });
}

void Mesh::ScheduleDial(Peer& peer) {
  executor_->Cancel(peer.dial_timer);
  // Full jitter above half, so that peers do not meet again and again.
  const auto half = static_cast<uint64_t>(peer.backoff.count() / 2);
  const Duration delay(static_cast<int64_t>(half + random_.Below(half + 1)));
  peer.backoff = std::min(peer.backoff * 2, options_.backoff_max);
  peer.dial_timer = executor_->RunAfter(delay, [this, id = peer.id, alive = is_alive_] {
    if (*alive) Dial(*FindPeer(id));
  });
}

wire::Hello Mesh::MakeHello(BrokerId receiver, Lane lane, uint64_t session) const {
  wire::Hello hello;
  hello.set_format_version(kFormatVersion);
  hello.set_cluster_name(options_.cluster_name);
  hello.set_cluster_uuid(options_.cluster_uuid());
  hello.set_broker_id(options_.self.voter.broker.value());
  hello.set_incarnation(options_.self.voter.incarnation.value());
  hello.set_boot_epoch(options_.self.boot_epoch.value());
  hello.set_lane(ToWire(lane));
  hello.set_receiver_broker_id(receiver.value());
  hello.set_session(session);
  return hello;
}

Status Mesh::CheckHello(const wire::Hello& hello) const {
  const std::string them = BrokerName(BrokerId(hello.broker_id()));
  const std::string us = BrokerName(options_.self.voter.broker);
  if (hello.format_version() != kFormatVersion) {
    return FailedPrecondition(them + " speaks peer format " +
                              std::to_string(hello.format_version()) + ", " + us + " speaks " +
                              std::to_string(kFormatVersion));
  }
  if (hello.cluster_name() != options_.cluster_name) {
    return FailedPrecondition(them + " belongs to cluster \"" + hello.cluster_name() + "\", " +
                                  us + " to \"" + options_.cluster_name + "\"",
                              Reason::kClusterMismatch);
  }
  const uint64_t ours = options_.cluster_uuid();
  if (hello.cluster_uuid() != 0 && ours != 0 && hello.cluster_uuid() != ours) {
    return FailedPrecondition(
        them + " and " + us + " belong to different clusters of the name \"" +
            options_.cluster_name + "\"",
        Reason::kClusterMismatch);
  }
  if (hello.broker_id() == options_.self.voter.broker.value()) {
    return AlreadyExists("another process calls itself " + us + " as well");
  }
  if (BrokerId(hello.receiver_broker_id()) != options_.self.voter.broker) {
    return FailedPrecondition(them + " means to reach " +
                              BrokerName(BrokerId(hello.receiver_broker_id())) +
                              " and found " + us);
  }
  if (!peers_.contains(BrokerId(hello.broker_id()))) {
    return FailedPrecondition(them + " is not among the controllers that " + us + " was told of");
  }
  return {};
}

void Mesh::OnHello(const std::shared_ptr<Link>& link, const PeerFrame& frame) {
  const Result<wire::Hello> hello = ParseHeader<wire::Hello>(frame);
  if (!hello.ok()) return OnLinkClosed(link, hello.status());
  if (const Status status = CheckHello(*hello); !status.ok()) return Refuse(link, status);
  if (link->stranger != 0) {
    OnDialerHello(link, *hello);
  } else {
    OnAcceptorHello(link, *hello);
  }
}

void Mesh::OnDialerHello(const std::shared_ptr<Link>& link, const wire::Hello& hello) {
  Peer& peer = *FindPeer(BrokerId(hello.broker_id()));
  const int lane = static_cast<int>(hello.lane()) - 1;
  if (peer.is_dialer || lane < 0 || lane >= kLaneCount) {
    return Refuse(link, FailedPrecondition(BrokerName(peer.id) + " dialled the wrong way round"));
  }
  const std::pair theirs(hello.boot_epoch(), hello.session());
  const std::pair known(peer.session_epoch.value(), peer.session);
  const bool is_other_life =
      peer.identity.voter.incarnation.value() != hello.incarnation();
  if (!is_other_life && theirs < known) return OnLinkClosed(link, Aborted("a stale connection"));
  if (is_other_life || theirs > known) {
    Drop(peer, Unavailable(BrokerName(peer.id) + " connected anew"));
    peer.session_epoch = BootEpoch(hello.boot_epoch());
    peer.session = hello.session();
    peer.identity.voter = {peer.id, Incarnation(hello.incarnation())};
  }
  strangers_.erase(link->stranger);
  link->stranger = 0;
  link->peer = peer.id;
  link->lane = static_cast<Lane>(lane);
  link->session = peer.session;
  link->Send({EncodePeerFrameHead(FrameKind::kHello,
                                  MakeHello(peer.id, link->lane, hello.session()), 0)});
  Attach(peer, link, hello);
}

void Mesh::OnAcceptorHello(const std::shared_ptr<Link>& link, const wire::Hello& hello) {
  Peer& peer = *FindPeer(link->peer);
  if (BrokerId(hello.broker_id()) != link->peer || hello.session() != link->session) {
    return Refuse(link, FailedPrecondition(BrokerName(BrokerId(hello.broker_id())) +
                                           " answered where " + BrokerName(link->peer) +
                                           " was dialled"));
  }
  Attach(peer, link, hello);
}

void Mesh::Attach(Peer& peer, const std::shared_ptr<Link>& link, const wire::Hello& hello) {
  link->HandshakeDone();
  link->is_attached = true;
  peer.links[static_cast<size_t>(link->lane)] = link;
  peer.identity = {.voter = {peer.id, Incarnation(hello.incarnation())},
                   .boot_epoch = BootEpoch(hello.boot_epoch()),
                   .cluster_uuid = hello.cluster_uuid()};
  peer.last_heard = clock_->Now();
  const bool all_stand =
      std::all_of(peer.links.begin(), peer.links.end(),
                  [](const auto& lane) { return lane != nullptr && lane->is_attached; });
  if (!all_stand || peer.is_up) return;
  peer.is_up = true;
  peer.backoff = options_.backoff_min;
  handler_->OnPeerConnected(peer.identity);
}

void Mesh::Refuse(const std::shared_ptr<Link>& link, const Status& why) {
  wire::Refusal refusal;
  refusal.set_code(static_cast<int>(why.code()));
  refusal.set_message(std::string(why.message()));
  link->Send({EncodePeerFrameHead(FrameKind::kRefusal, refusal, 0)});
  if (last_refusal_ != why.message()) {
    last_refusal_ = std::string(why.message());
    handler_->OnPeerRefused(why);
  }
  // Leaves the refusal time to arrive; the other side closes, or the handshake's timer does.
}

// --- ends ---------------------------------------------------------------------------------------------

void Mesh::OnLinkClosed(const std::shared_ptr<Link>& link, const Status& why) {
  link->Close();
  if (link->stranger != 0) {
    strangers_.erase(link->stranger);
    return;
  }
  Peer* peer = FindPeer(link->peer);
  if (peer != nullptr && peer->links[static_cast<size_t>(link->lane)] == link) Drop(*peer, why);
}

void Mesh::Drop(Peer& peer, const Status& why) {
  for (auto& link : peer.links) {
    if (link) std::exchange(link, nullptr)->Close();
  }
  peer.control.Clear();
  if (peer.is_dialer) {
    ++peer.session;  // Attempts under way are void.
    ScheduleDial(peer);
  }
  if (std::exchange(peer.is_up, false)) handler_->OnPeerDisconnected(peer.id, why);
}

void Mesh::KeepAlive() {
  keepalive_timer_ = executor_->RunAfter(options_.ping_interval, [this, alive = is_alive_] {
    if (*alive) KeepAlive();
  });
  const MonotonicTime now = clock_->Now();
  for (auto& [id, peer] : peers_) {
    if (!peer.is_up) continue;
    if (now - peer.last_heard > options_.keepalive) {
      Drop(peer, Unavailable(BrokerName(id) + " fell silent"));
      continue;
    }
    SendOn(peer, Lane::kControl, {EncodePeerFrameHead(FrameKind::kPing, wire::Ping(), 0)});
  }
}

// --- messages -----------------------------------------------------------------------------------------

bool Mesh::OnFrame(const std::shared_ptr<Link>& link, const PeerFrame& frame) {
  if (frame.kind == FrameKind::kHello && !link->is_attached) {
    OnHello(link, frame);
    return true;
  }
  if (frame.kind == FrameKind::kRefusal) {
    const Result<wire::Refusal> refusal = ParseHeader<wire::Refusal>(frame);
    const std::string text = refusal.ok() ? refusal->message() : "unreadable";
    if (last_refusal_ != text) {
      last_refusal_ = text;
      handler_->OnPeerRefused(FailedPrecondition("refused by " + link->address() + ": " + text));
    }
    OnLinkClosed(link, Unavailable("refused: " + text));
    return false;
  }
  Peer* peer = FindPeer(link->peer);
  if (!link->is_attached || peer == nullptr) {
    OnLinkClosed(link, DataLoss("a message came before the handshake"));
    return false;
  }
  if (link->lane == Lane::kControl) peer->last_heard = clock_->Now();
  const Status status = Deliver(*peer, frame);
  if (status.ok()) return true;
  LOG(WARNING) << "a peer's message makes no sense peer=" << peer->id << " why=" << status;
  OnLinkClosed(link, status);
  return false;
}

Status Mesh::Deliver(Peer& peer, const PeerFrame& frame) {
  switch (frame.kind) {
    case FrameKind::kPing:
      SendOn(peer, Lane::kControl, {EncodePeerFrameHead(FrameKind::kPong, wire::Pong(), 0)});
      return {};
    case FrameKind::kPong:
      return {};
    case FrameKind::kGroupMessages:
      return DeliverGroupMessages(peer, frame);
    case FrameKind::kGroupAppend: {
      ASSIGN_OR_RETURN(const wire::GroupAppend header, ParseHeader<wire::GroupAppend>(frame));
      ASSIGN_OR_RETURN(core::AppendRequest append, DecodeGroupAppend(header, frame.body));
      handler_->OnRaftMessage(peer.identity.voter, RaftGroupId(header.group_id()),
                              std::move(append));
      return {};
    }
    case FrameKind::kEnvelope: {
      ASSIGN_OR_RETURN(const wire::PeerEnvelope header, ParseHeader<wire::PeerEnvelope>(frame));
      if (Crc32c(frame.body.view()) != header.body_crc()) {
        return DataLoss("an envelope's checksum does not match");
      }
      handler_->OnPeerMessage(peer.identity.voter, static_cast<PeerKind>(header.kind()),
                              frame.body);
      return {};
    }
    case FrameKind::kHello:
    case FrameKind::kRefusal:
      break;
  }
  return DataLoss("a frame of kind " + std::to_string(static_cast<int>(frame.kind)) +
                  " is out of place");
}

Status Mesh::DeliverGroupMessages(const Peer& peer, const PeerFrame& frame) {
  ASSIGN_OR_RETURN(const wire::GroupMessages messages, ParseHeader<wire::GroupMessages>(frame));
  const Voter from = peer.identity.voter;
  for (const wire::GroupMessage& message : messages.messages()) {
    ASSIGN_OR_RETURN(core::Message decoded, DecodeGroupMessage(message));
    handler_->OnRaftMessage(from, RaftGroupId(message.group_id()), std::move(decoded));
  }
  return {};
}

void Mesh::SendOn(Peer& peer, Lane lane, std::vector<Bytes> pieces) {
  const std::shared_ptr<Link>& link = peer.links[static_cast<size_t>(lane)];
  if (!peer.is_up || link->pending_bytes() > options_.pending_bytes_max) {
    ++dropped_messages_;
    return;
  }
  link->Send(std::move(pieces));
}

void Mesh::SendRaft(const Voter& to, RaftGroupId group, core::Message message, bool bulk) {
  Peer* peer = FindPeer(to.broker);
  // Another incarnation is another voter; what is meant for one must not reach the other.
  if (peer == nullptr || !peer->is_up || peer->identity.voter != to) {
    ++dropped_messages_;
    return;
  }
  if (const auto* append = std::get_if<core::AppendRequest>(&message)) {
    std::vector<Bytes> pieces(1);
    const wire::GroupAppend header = EncodeGroupAppend(group, *append, &pieces);
    size_t body_size = 0;
    for (const Bytes& piece : pieces) body_size += piece.size();
    pieces.front() = EncodePeerFrameHead(FrameKind::kGroupAppend, header, body_size);
    return SendOn(*peer, bulk ? Lane::kBulk : Lane::kAppend, std::move(pieces));
  }
  EncodeGroupMessage(group, message, peer->control.add_messages());
  if (peer->is_flush_posted) return;
  peer->is_flush_posted = true;
  executor_->Post([this, id = to.broker, alive = is_alive_] {
    if (*alive) FlushControl(*FindPeer(id));
  });
}

// Everything that a turn had to say to a peer goes in one frame: heartbeats of all groups are merged here.
void Mesh::FlushControl(Peer& peer) {
  peer.is_flush_posted = false;
  if (peer.control.messages().empty()) return;
  SendOn(peer, Lane::kControl,
         {EncodePeerFrameHead(FrameKind::kGroupMessages, peer.control, 0)});
  peer.control.Clear();
}

void Mesh::SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) {
  Peer* peer = FindPeer(to);
  if (peer == nullptr || !peer->is_up) {
    ++dropped_messages_;
    return;
  }
  wire::PeerEnvelope header;
  header.set_kind(static_cast<uint32_t>(kind));
  uint32_t crc = 0;
  size_t size = 0;
  for (const Bytes& piece : body) {
    crc = Crc32c(piece.view(), crc);
    size += piece.size();
  }
  header.set_body_crc(crc);
  std::vector<Bytes> pieces;
  pieces.push_back(EncodePeerFrameHead(FrameKind::kEnvelope, header, size));
  for (Bytes& piece : body) pieces.push_back(std::move(piece));
  SendOn(*peer, lane, std::move(pieces));
}

bool Mesh::IsConnected(BrokerId peer) const {
  auto found = peers_.find(peer);
  return found != peers_.end() && found->second.is_up;
}

}  // namespace millrace::raft::net

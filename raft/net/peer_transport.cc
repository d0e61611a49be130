#include "raft/net/peer_transport.h"

#include <string>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::net {

PeerTransport::PeerTransport(const PeerTransportOptions& options, const Environment& environment)
    : context_{.options = options,
               .executor = environment.executor,
               .clock = environment.clock,
               .network = environment.network,
               .handler = nullptr,
               .random = environment.random,
               .stats = {},
               .graveyard = LaneGraveyard(environment.executor),
               .complaints = Complaints(environment.clock),
               .peer_hosts = {}} {
  CHECK(options.self.who.broker != BrokerId()) << "a broker has a number";
  context_.options.peers.erase(options.self.who.broker);
  for (const auto& [peer, endpoint] : context_.options.peers) {
    sessions_.emplace(peer, std::make_unique<PeerSession>(context_, peer, endpoint));
  }
}

PeerTransport::~PeerTransport() {
  context_.executor.Cancel(keepalive_timer_);
  for (auto& [id, stranger] : strangers_) context_.executor.Cancel(stranger.deadline);
}

Status PeerTransport::Start(TransportHandler& handler) {
  CHECK(listener_ == nullptr) << "started already";
  context_.handler = &handler;
  auto listener = context_.network.Listen(
      context_.options.listen,
      [this](std::unique_ptr<Connection> connection) { OnAccept(std::move(connection)); });
  if (!listener.ok()) return listener.status().With("peer listener");
  listener_ = std::move(listener).value();
  last_tick_ = context_.clock.Now();
  OnKeepaliveTick();
  for (auto& [peer, session] : sessions_) session->Start();
  return Status::Ok();
}

void PeerTransport::SendRaft(const RaftRoute& route, core::Message message, bool bulk) {
  CHECK(route.to.broker != context_.options.self.who.broker) << "a message to itself";
  const auto session = sessions_.find(route.to.broker);
  if (session == sessions_.end()) {
    ++context_.stats.messages_dropped;
    return;
  }
  session->second->SendRaft(route, message, bulk);
}

void PeerTransport::SendPeer(BrokerId to, Lane lane, PeerKind kind, std::vector<Bytes> body) {
  CHECK(to != context_.options.self.who.broker) << "a message to itself";
  const auto session = sessions_.find(to);
  if (session == sessions_.end()) {
    ++context_.stats.messages_dropped;
    return;
  }
  session->second->SendPeer(lane, kind, std::move(body));
}

bool PeerTransport::IsConnected(BrokerId peer) const {
  const auto session = sessions_.find(peer);
  return session != sessions_.end() && session->second->is_up();
}

bool PeerTransport::IsDiskFull(BrokerId peer) const {
  const std::optional<PeerCondition> condition = ConditionOf(peer);
  return condition.has_value() && condition->is_disk_full;
}

std::vector<int64_t> PeerTransport::PeerWallClocksMs() const {
  std::vector<int64_t> clocks;
  for (const auto& [peer, session] : sessions_) {
    if (const auto clock = session->wall_clock_ms()) clocks.push_back(*clock);
  }
  return clocks;
}

std::optional<PeerCondition> PeerTransport::ConditionOf(BrokerId peer) const {
  const auto session = sessions_.find(peer);
  return session == sessions_.end() ? std::nullopt : session->second->condition();
}

void PeerTransport::OnAccept(std::unique_ptr<Connection> connection) {
  const uint64_t id = next_stranger_++;
  LaneOwner& owner = *this;
  Stranger stranger;
  stranger.connection = std::make_unique<LaneConnection>(std::move(connection), owner,
                                                         context_.clock, context_.stats);
  stranger.host = stranger.connection->peer_host();
  if (!MakeRoomFor(stranger.host)) {
    ++context_.stats.handshakes_refused;
    Complain(stranger.host, "more connections than there is room for do not introduce themselves");
    return context_.graveyard.Bury(std::move(stranger.connection));
  }
  stranger.deadline = context_.executor.RunAfter(context_.options.handshake_timeout, [this, id] {
    auto late = strangers_.extract(id);
    CHECK(!late.empty());
    ++context_.stats.handshakes_timed_out;
    Complain(late.mapped().host, "a connection did not introduce itself in time");
    context_.graveyard.Bury(std::move(late.mapped().connection));
  });
  strangers_.emplace(id, std::move(stranger));
}

bool PeerTransport::MakeRoomFor(const std::string& host) {
  if (strangers_.size() < context_.options.incoming_max) return true;
  auto leaves = LongestWaitingOfMost(false);
  if (leaves == strangers_.end() && IsPeerHost(host)) leaves = LongestWaitingOfMost(true);
  if (leaves == strangers_.end()) return false;
  ++context_.stats.strangers_dropped;
  Complain(leaves->second.host, "a connection did not introduce itself, and others want its room");
  context_.executor.Cancel(leaves->second.deadline);
  context_.graveyard.Bury(std::move(leaves->second.connection));
  strangers_.erase(leaves);
  return true;
}

PeerTransport::Strangers::iterator PeerTransport::LongestWaitingOfMost(bool of_peers) {
  std::map<std::string_view, size_t> counts;
  for (const auto& [id, stranger] : strangers_) ++counts[stranger.host];
  auto found = strangers_.end();
  for (auto at = strangers_.begin(); at != strangers_.end(); ++at) {
    const std::string& host = at->second.host;
    if (IsPeerHost(host) != of_peers) continue;
    if (found == strangers_.end() || counts[host] > counts[found->second.host]) found = at;
  }
  return found;
}

bool PeerTransport::IsPeerHost(const std::string& host) const {
  for (const auto& [peer, endpoint] : context_.options.peers) {
    if (endpoint.host == host) return true;
  }
  for (const auto& [peer, seen] : context_.peer_hosts) {
    if (seen == host) return true;
  }
  return false;
}

void PeerTransport::Complain(const std::string& host, std::string_view what) {
  if (!context_.complaints.Note(host, what)) return;
  LOG(WARNING) << "closed a stranger's connection from=" << host << " why=" << what;
}

PeerTransportStats PeerTransport::stats() const {
  PeerTransportStats stats = context_.stats;
  stats.complaint_lines = context_.complaints.line_count();
  return stats;
}

std::unique_ptr<LaneConnection> PeerTransport::TakeStranger(const LaneConnection& lane) {
  for (auto at = strangers_.begin(); at != strangers_.end(); ++at) {
    if (at->second.connection.get() != &lane) continue;
    context_.executor.Cancel(at->second.deadline);
    std::unique_ptr<LaneConnection> taken = std::move(at->second.connection);
    strangers_.erase(at);
    return taken;
  }
  return nullptr;
}

void PeerTransport::OnFrame(LaneConnection& lane, const PeerFrame& frame) {
  std::unique_ptr<LaneConnection> taken = TakeStranger(lane);
  CHECK(taken != nullptr);
  const Status introduced = Introduce(taken, frame);
  if (!introduced.ok()) Refuse(std::move(taken), introduced);
}

Status PeerTransport::Introduce(std::unique_ptr<LaneConnection>& lane, const PeerFrame& frame) {
  wire::Hello hello;
  const bool is_hello =
      frame.kind == FrameKind::kHello && frame.body.empty() &&
      hello.ParseFromArray(frame.header.data(), static_cast<int>(frame.header.size()));
  if (!is_hello) {
    ++context_.stats.frames_rejected;
    return DataLoss("it did not begin with a Hello");
  }
  RETURN_IF_ERROR(CheckHello(context_.options, hello));
  return sessions_.at(BrokerId(hello.broker_id()))->Accept(hello, lane);
}

void PeerTransport::Refuse(std::unique_ptr<LaneConnection> lane, const Status& why) {
  const std::string host = lane->peer_host();
  lane->SendFrame(FrameKind::kRefusal, MakeRefusal(why));
  context_.graveyard.Bury(std::move(lane));
  if (why.code() == Code::kFailedPrecondition) return context_.ReportRefusal(host, why);
  Complain(host, why.message());
}

void PeerTransport::OnLaneClosed(LaneConnection& lane, const Status& why) {
  // Garbage is worth a line; a scanner that connects and goes is not.
  if (why.code() == Code::kDataLoss) Complain(lane.peer_host(), why.message());
  context_.graveyard.Bury(TakeStranger(lane));
}

void PeerTransport::OnKeepaliveTick() {
  const Duration interval = context_.options.keepalive_interval;
  const MonotonicTime now = context_.clock.Now();
  // Where this broker itself stood still, what peers said waits unread: no verdict on them now.
  const bool is_late = now - last_tick_ > 2 * interval;
  last_tick_ = now;
  // Planned first: a session's end calls the handler.
  keepalive_timer_ = context_.executor.RunAfter(interval / 2, [this] { OnKeepaliveTick(); });
  for (auto& [peer, session] : sessions_) session->CheckKeepalive(is_late);
  context_.complaints.Sweep();
}

}  // namespace millrace::raft::net

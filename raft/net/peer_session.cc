#include "raft/net/peer_session.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

namespace millrace::raft::net {
namespace {

constexpr std::array<Lane, kLaneCount> kLanes{Lane::kControl, Lane::kAppend, Lane::kBulk};
// A session that stood this long was no failure: the next attempt comes at once.
constexpr Duration kStableAfter = std::chrono::seconds(1);

}  // namespace

void SessionContext::ReportRefusal(std::string_view source, const Status& why) {
  ++stats.handshakes_refused;
  if (complaints.Note(source, why.message())) handler->OnPeerRefused(why);
}

PeerSession::PeerSession(SessionContext& context, BrokerId peer, Endpoint endpoint)
    : context_(&context),
      peer_(peer),
      endpoint_(std::move(endpoint)),
      backoff_(context.options.backoff_min),
      refused_backoff_(context.options.refused_backoff_min) {}

PeerSession::~PeerSession() {
  context_->executor.Cancel(attempt_timer_);
  for (LaneState& lane : lanes_) {
    if (lane.connection) lane.connection->Close();
  }
}

void PeerSession::Start() {
  if (is_dialer()) Dial();
}

void PeerSession::Dial() {
  CHECK(state_ == State::kIdle);
  BeginJoining(session_ + 1);
  for (const Lane lane : kLanes) {
    context_->network.Connect(
        endpoint_, context_->options.connect_timeout,
        lifetime_.Guard([this, session = session_, lane](Result<std::unique_ptr<Connection>> made) {
          OnConnected(session, lane, std::move(made));
        }));
  }
}

void PeerSession::OnConnected(uint64_t session, Lane lane,
                              Result<std::unique_ptr<Connection>> made) {
  if (session != session_ || state_ != State::kJoining) return;  // The attempt was given up.
  if (!made.ok()) return Fail(made.status());
  auto connection = std::make_unique<LaneConnection>(std::move(made).value(), *this,
                                                     context_->clock, context_->stats);
  context_->peer_hosts[peer_] = connection->peer_host();
  connection->SendFrame(FrameKind::kHello, MakeHello(context_->options, peer_, lane, session_));
  lane_state(lane).connection = std::move(connection);
}

void PeerSession::BeginJoining(uint64_t session) {
  state_ = State::kJoining;
  session_ = session;
  context_->executor.Cancel(attempt_timer_);
  const Duration limit = context_->options.connect_timeout + context_->options.handshake_timeout;
  attempt_timer_ = context_->executor.RunAfter(limit, [this] {
    ++context_->stats.handshakes_timed_out;
    Fail(DeadlineExceeded("handshake with " + endpoint_.ToString() + ": timed out"));
  });
}

Status PeerSession::Accept(const wire::Hello& hello, std::unique_ptr<LaneConnection>& connection) {
  const PeerIdentity caller = IdentityOf(context_->options, hello);
  if (is_dialer()) {
    return Telling(FailedPrecondition(Name() + " does not dial broker " +
                                      std::to_string(context_->options.self.who.broker.value()) +
                                      ": the lower id dials"),
                   "of two brokers the one with the lower id dials");
  }
  if (identity_ && state_ != State::kIdle) {
    const bool is_other = identity_->who != caller.who;
    if (is_other && state_ == State::kUp) {
      return Telling(FailedPrecondition("broker id " + std::to_string(peer_.value()) +
                                        " is in use by incarnation " +
                                        std::to_string(identity_->who.incarnation.value()) +
                                        ", refusing incarnation " +
                                        std::to_string(caller.who.incarnation.value())),
                     "the broker's id is in use");
    }
    const auto mine = std::pair(identity_->boot_epoch, session_);
    const auto theirs = std::pair(caller.boot_epoch, hello.session());
    if (!is_other && theirs < mine) return Aborted("a newer session of the same broker stands");
    if (is_other || theirs > mine) Fail(Unavailable("peer began a new session"));
  }
  if (state_ == State::kIdle) BeginJoining(hello.session());
  const Result<Lane> lane = FromWire(hello.lane());
  RETURN_IF_ERROR(lane.status());
  if (lane_state(*lane).connection != nullptr) return Aborted("the lane is taken in this session");

  connection->SetOwner(*this);
  connection->SendFrame(FrameKind::kHello, MakeHello(context_->options, peer_, *lane, session_));
  lane_state(*lane).connection = std::move(connection);
  if (const Status admitted = Admit(caller, *lane); !admitted.ok()) Fail(admitted);
  return Status::Ok();
}

Status PeerSession::Admit(const PeerIdentity& identity, Lane lane) {
  if (identity_ &&
      (identity_->who != identity.who || identity_->boot_epoch != identity.boot_epoch)) {
    return Unavailable("peer restarted during the handshake");
  }
  identity_ = identity;
  lane_state(lane).is_standing = true;
  lane_state(lane).connection->Trust();
  RiseIfComplete();
  return Status::Ok();
}

void PeerSession::RiseIfComplete() {
  const bool is_complete = std::all_of(lanes_.begin(), lanes_.end(),
                                       [](const LaneState& lane) { return lane.is_standing; });
  if (!is_complete) return;
  state_ = State::kUp;
  up_since_ = context_->clock.Now();
  // Its condition is asked for at once.
  last_ping_ = up_since_ - context_->options.condition_interval;
  last_failure_.clear();
  refused_backoff_ = context_->options.refused_backoff_min;
  context_->peer_hosts[peer_] = lane_state(Lane::kControl).connection->peer_host();
  context_->executor.Cancel(attempt_timer_);
  LOG(INFO) << "peer connected broker=" << identity_->who.broker
            << " incarnation=" << identity_->who.incarnation
            << " boot_epoch=" << identity_->boot_epoch << " session=" << session_
            << " format=" << identity_->format << " version=" << identity_->software_version;
  const uint64_t session = session_;
  context_->handler->OnPeerConnected(*identity_);
  for (const Lane lane : kLanes) {
    // What was held back may itself end the session.
    if (state_ != State::kUp || session_ != session) return;
    lane_state(lane).connection->Release();
  }
}

void PeerSession::Fail(const Status& why, bool was_refused) {
  const bool was_up = state_ == State::kUp;
  if (state_ == State::kIdle) return;
  state_ = State::kIdle;
  context_->executor.Cancel(attempt_timer_);
  for (LaneState& lane : lanes_) {
    context_->graveyard.Bury(std::move(lane.connection));
    lane.is_standing = false;
  }
  identity_.reset();
  condition_.reset();
  told_disk_full_ = false;
  control_.Clear();
  if (was_up && context_->clock.Now() - up_since_ >= kStableAfter) {
    backoff_ = context_->options.backoff_min;
  }
  if (was_up) {
    LOG(WARNING) << "peer disconnected broker=" << peer_ << " why=" << why;
  } else if (!was_refused && why.message() != last_failure_) {
    last_failure_ = why.message();
    // Whoever poses as the peer may fail in as many ways as it likes.
    if (context_->complaints.Note(Name(), why.message()))
      LOG(INFO) << "peer not reached yet broker=" << peer_ << " why=" << why;
  }
  if (is_dialer()) PlanDial(was_refused);
  if (was_up) context_->handler->OnPeerDisconnected(peer_, why);
}

void PeerSession::PlanDial(bool was_refused) {
  const PeerTransportOptions& options = context_->options;
  const Duration wait = was_refused ? refused_backoff_ : backoff_;
  backoff_ = std::min(backoff_ * 2, options.backoff_max);
  if (was_refused) {
    refused_backoff_ = std::min(refused_backoff_ * 2, options.refused_backoff_max);
  }
  const auto most = static_cast<uint64_t>(wait.count());
  const Duration drawn(context_->random.Between(most / 2, most));
  attempt_timer_ = context_->executor.RunAfter(drawn, [this] { Dial(); });
}

void PeerSession::CheckKeepalive(bool is_late) {
  if (state_ != State::kUp || is_late) return;
  const MonotonicTime now = context_->clock.Now();
  LaneConnection& control = *lane_state(Lane::kControl).connection;
  const Duration silence = now - control.last_heard();
  if (silence >= context_->options.keepalive_timeout) {
    Fail(DeadlineExceeded("silent for " + std::to_string(silence.count() / 1000) + " ms"));
    return;
  }
  const Duration interval = context_->options.keepalive_interval;
  const bool is_silent = silence >= interval && now - last_ping_ >= interval;
  const bool is_due = is_silent || now - last_ping_ >= context_->options.condition_interval;
  if (!is_due && !HasNews()) return;
  last_ping_ = now;
  SendPing();
}

// Leaders elsewhere must know at once that this broker has no room.
bool PeerSession::HasNews() const {
  const auto& condition = context_->options.condition;
  return condition && condition().is_disk_full != told_disk_full_;
}

std::optional<int64_t> PeerSession::wall_clock_ms() const {
  if (!is_up() || !condition_.has_value() || condition_->wall_clock_ms == 0) return std::nullopt;
  const Duration since = context_->clock.Now() - condition_at_;
  return condition_->wall_clock_ms + since / std::chrono::milliseconds(1);
}

std::string PeerSession::Name() const { return "broker " + std::to_string(peer_.value()); }

std::optional<Lane> PeerSession::LaneOf(const LaneConnection& connection) const {
  for (const Lane lane : kLanes) {
    if (lanes_[static_cast<size_t>(lane)].connection.get() == &connection) return lane;
  }
  return std::nullopt;
}

void PeerSession::OnLaneClosed(LaneConnection& lane, const Status& why) {
  if (LaneOf(lane)) Fail(why);
}

}  // namespace millrace::raft::net

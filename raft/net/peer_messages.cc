// What goes over a session's lanes: sending, and handling what came.
#include <algorithm>
#include <string>
#include <utility>

#include <glog/logging.h>

#include "proto/base/checksum.h"
#include "raft/net/peer_session.h"
#include "raft/net/raft_codec.h"

namespace millrace::raft::net {
namespace {

// Past this a turn's control messages are sent at once, so that a frame stays small.
constexpr int kControlMessagesMax = 4096;

template <typename Message>
Status ParseHeader(const PeerFrame& frame, Message* message) {
  if (message->ParseFromArray(frame.header.data(), static_cast<int>(frame.header.size()))) {
    return Status::Ok();
  }
  return DataLoss("peer frame's header does not parse");
}

// A Ping and a Pong tell the same of their sender.
template <typename Message>
void SayCondition(const SessionContext& context, Message* message) {
  message->set_wall_clock_ms(context.clock.WallMs());
  if (!context.options.condition) return;
  const PeerCondition own = context.options.condition();
  message->set_oldest_write_age_us(static_cast<uint64_t>(own.oldest_write_age.count()));
  message->set_is_disk_full(own.is_disk_full);
}

template <typename Message>
PeerCondition ConditionIn(const Message& message) {
  // What no duration holds is as good as for ever.
  const uint64_t age = std::min<uint64_t>(message.oldest_write_age_us(), INT64_MAX);
  return {.wall_clock_ms = message.wall_clock_ms(),
          .oldest_write_age = Duration(static_cast<int64_t>(age)),
          .is_disk_full = message.is_disk_full()};
}

bool IsKnownPeerKind(uint32_t kind) {
  return kind >= static_cast<uint32_t>(PeerKind::kBootstrap) &&
         kind <= static_cast<uint32_t>(PeerKind::kStatePiece);
}

Voter SenderOf(const BrokerIncarnation& who, uint32_t number) {
  return {who.broker, who.incarnation, ReplicaNumber(number)};
}

Status BodyTooLarge() { return DataLoss("peer frame has a body where none belongs"); }

}  // namespace

void PeerSession::SendRaft(const RaftRoute& route, const core::Message& message, bool bulk) {
  if (state_ != State::kUp || identity_->who != route.to.holder()) {
    ++context_->stats.messages_dropped;
    return;
  }
  const auto* append = std::get_if<core::AppendRequest>(&message);
  if (append == nullptr) return QueueControl(route, message);
  const Lane lane = bulk ? Lane::kBulk : Lane::kAppend;
  if (!HasRoom(lane)) return;
  std::vector<Bytes> body;
  const wire::GroupAppend header = EncodeGroupAppend(route, *append, &body);
  lane_state(lane).connection->SendFrame(FrameKind::kGroupAppend, header, std::move(body));
}

void PeerSession::SendPeer(Lane lane, PeerKind kind, std::vector<Bytes> body) {
  if (state_ != State::kUp) {
    ++context_->stats.messages_dropped;
    return;
  }
  if (!HasRoom(lane)) return;
  uint32_t crc = 0;
  for (const Bytes& piece : body) crc = Crc32c(piece.view(), crc);
  wire::PeerEnvelope envelope;
  envelope.set_kind(static_cast<uint32_t>(kind));
  envelope.set_body_crc(crc);
  if (lane == Lane::kControl) FlushControl();  // What was said before stays before.
  lane_state(lane).connection->SendFrame(FrameKind::kEnvelope, envelope, std::move(body));
}

bool PeerSession::HasRoom(Lane lane) {
  if (lane_state(lane).connection->pending_bytes() < context_->options.pending_bytes_max) {
    return true;
  }
  ++context_->stats.messages_dropped;
  return false;
}

void PeerSession::QueueControl(const RaftRoute& route, const core::Message& message) {
  EncodeGroupMessage(route, message, control_.add_messages());
  if (control_.messages_size() >= kControlMessagesMax) return FlushControl();
  if (std::exchange(has_flush_planned_, true)) return;
  context_->executor.Post(lifetime_.Guard([this] {
    has_flush_planned_ = false;
    FlushControl();
  }));
}

void PeerSession::FlushControl() {
  if (control_.messages_size() == 0) return;
  if (state_ == State::kUp && HasRoom(Lane::kControl)) {
    context_->stats.control_messages_sent += static_cast<uint64_t>(control_.messages_size());
    ++context_->stats.control_frames_sent;
    lane_state(Lane::kControl).connection->SendFrame(FrameKind::kGroupMessages, control_);
  }
  control_.Clear();
}

void PeerSession::OnFrame(LaneConnection& connection, const PeerFrame& frame) {
  const std::optional<Lane> lane = LaneOf(connection);
  if (!lane) return;
  const bool is_standing = lane_state(*lane).is_standing;
  const Status handled =
      is_standing ? HandleFrame(connection, frame) : HandleHandshake(*lane, frame);
  if (handled.ok()) return;
  if (handled.code() == Code::kDataLoss) ++context_->stats.frames_rejected;
  const bool was_refused = handled.code() == Code::kFailedPrecondition;
  if (was_refused) context_->ReportRefusal(Name() + " refused", handled);
  Fail(handled, was_refused);
}

Status PeerSession::HandleHandshake(Lane lane, const PeerFrame& frame) {
  if (frame.kind == FrameKind::kRefusal) {
    wire::Refusal refusal;
    RETURN_IF_ERROR(ParseHeader(frame, &refusal));
    const bool is_lasting = refusal.code() == static_cast<int>(Code::kFailedPrecondition);
    const Code code = is_lasting ? Code::kFailedPrecondition : Code::kUnavailable;
    return Status(code, RefusedBy(refusal), is_lasting ? Reason::kClusterMismatch : Reason::kNone);
  }
  if (frame.kind != FrameKind::kHello) return DataLoss("peer did not begin with a Hello");
  wire::Hello hello;
  RETURN_IF_ERROR(ParseHeader(frame, &hello));
  if (const Status verdict = CheckHello(context_->options, hello); !verdict.ok()) {
    lane_state(lane).connection->SendFrame(FrameKind::kRefusal, MakeRefusal(verdict));
    return verdict;
  }
  if (hello.broker_id() != peer_.value()) {
    return FailedPrecondition("broker " + std::to_string(hello.broker_id()) + " answers at " +
                              endpoint_.ToString() + ", where broker " +
                              std::to_string(peer_.value()) + " should be");
  }
  if (hello.session() != session_ || hello.lane() != ToWire(lane)) {
    return DataLoss("peer's Hello is not an answer to ours");
  }
  return Admit(IdentityOf(context_->options, hello), lane);
}

// The other side says what is wrong and no names: those that are known here are added.
std::string PeerSession::RefusedBy(const wire::Refusal& refusal) const {
  return "broker " + std::to_string(context_->options.self.who.broker.value()) + " of cluster \"" +
         context_->options.cluster_name + "\" is refused by " + Name() + " at " +
         endpoint_.ToString() + ": " + Printable(refusal.message());
}

void PeerSession::SkipUnknown(std::string_view what) {
  ++context_->stats.unknown_skipped;
  if (!context_->complaints.Note(Name() + ", newer than this version", what)) return;
  LOG(WARNING) << "skipped what this version does not know from=" << Name() << " what=" << what;
}

Status PeerSession::HandleFrame(LaneConnection& lane, const PeerFrame& frame) {
  if (!IsKnown(frame.kind)) {
    SkipUnknown("frame kind " + std::to_string(static_cast<int>(frame.kind)));
    return Status::Ok();
  }
  switch (frame.kind) {
    case FrameKind::kPing:
      return HandlePing(lane, frame);
    case FrameKind::kPong:
      return HandlePong(frame);
    case FrameKind::kGroupMessages:
      return HandleGroupMessages(frame);
    case FrameKind::kGroupAppend:
      return HandleGroupAppend(frame);
    case FrameKind::kEnvelope:
      return HandleEnvelope(frame);
    case FrameKind::kRefusal: {
      wire::Refusal refusal;
      RETURN_IF_ERROR(ParseHeader(frame, &refusal));
      return FailedPrecondition(RefusedBy(refusal));
    }
    case FrameKind::kHello:
      break;
  }
  return DataLoss("peer sent a second Hello");
}

void PeerSession::SendPing() {
  wire::Ping ping;
  ping.set_nonce(++ping_nonce_);
  SayCondition(*context_, &ping);
  told_disk_full_ = ping.is_disk_full();
  lane_state(Lane::kControl).connection->SendFrame(FrameKind::kPing, ping);
}

void PeerSession::TakeCondition(const PeerCondition& condition) {
  condition_ = condition;
  condition_at_ = context_->clock.Now();
}

Status PeerSession::HandlePing(LaneConnection& lane, const PeerFrame& frame) {
  wire::Ping ping;
  RETURN_IF_ERROR(ParseHeader(frame, &ping));
  TakeCondition(ConditionIn(ping));
  wire::Pong pong;
  pong.set_nonce(ping.nonce());
  SayCondition(*context_, &pong);
  lane.SendFrame(FrameKind::kPong, pong);
  return Status::Ok();
}

// Beside this, that it was heard is all that a Pong says.
Status PeerSession::HandlePong(const PeerFrame& frame) {
  wire::Pong pong;
  RETURN_IF_ERROR(ParseHeader(frame, &pong));
  TakeCondition(ConditionIn(pong));
  return Status::Ok();
}

Status PeerSession::HandleGroupMessages(const PeerFrame& frame) {
  if (!frame.body.empty()) return BodyTooLarge();
  wire::GroupMessages messages;
  RETURN_IF_ERROR(ParseHeader(frame, &messages));
  const BrokerIncarnation from = identity_->who;
  const uint64_t session = session_;
  for (const wire::GroupMessage& in : messages.messages()) {
    Result<core::Message> message = DecodeGroupMessage(in);
    if (message.status().code() == Code::kUnimplemented) {
      SkipUnknown(message.status().message());
      continue;
    }
    RETURN_IF_ERROR(message.status());
    context_->handler->OnRaftMessage(SenderOf(from, in.sender_number()), RaftGroupId(in.group_id()),
                                     ReplicaNumber(in.receiver_number()), *std::move(message));
    if (state_ != State::kUp || session_ != session) return Status::Ok();
  }
  return Status::Ok();
}

Status PeerSession::HandleGroupAppend(const PeerFrame& frame) {
  wire::GroupAppend in;
  RETURN_IF_ERROR(ParseHeader(frame, &in));
  Result<core::AppendRequest> append = DecodeGroupAppend(in, frame.body);
  if (append.status().code() == Code::kUnimplemented) {
    // Not acknowledged; the sender keeps it, and all other groups go on.
    LOG_EVERY_T(ERROR, 60) << "a configuration was not taken from=" << peer_
                           << " why=" << append.status();
    return Status::Ok();
  }
  RETURN_IF_ERROR(append.status());
  context_->handler->OnRaftMessage(SenderOf(identity_->who, in.sender_number()),
                                   RaftGroupId(in.group_id()), ReplicaNumber(in.receiver_number()),
                                   std::move(*append));
  return Status::Ok();
}

Status PeerSession::HandleEnvelope(const PeerFrame& frame) {
  wire::PeerEnvelope envelope;
  RETURN_IF_ERROR(ParseHeader(frame, &envelope));
  if (Crc32c(frame.body.view()) != envelope.body_crc()) {
    return DataLoss("peer message's body checksum mismatch");
  }
  if (!IsKnownPeerKind(envelope.kind())) {
    SkipUnknown("peer message kind " + std::to_string(envelope.kind()));
    return Status::Ok();
  }
  context_->handler->OnPeerMessage(identity_->who, static_cast<PeerKind>(envelope.kind()),
                                   frame.body);
  return Status::Ok();
}

}  // namespace millrace::raft::net

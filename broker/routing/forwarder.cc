#include "broker/routing/forwarder.h"

#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/api/error_reply.h"
#include "broker/routing/attached_bytes.h"

namespace millrace::broker {

using internal::v1::ForwardReply;
using internal::v1::ForwardRequest;

namespace {

// The code of that number; kUnknown for one that a later version sent.
Code CodeOf(int32_t number) {
  const bool is_known = number > 0 && number <= static_cast<int32_t>(Code::kUnauthenticated);
  return is_known ? static_cast<Code>(number) : Code::kUnknown;
}
Reason ReasonOf(int32_t number) {
  const auto reason = static_cast<Reason>(number);
  return ReasonName(reason).empty() ? Reason::kNone : reason;
}

raft::Lane LaneOf(WorkClass work_class) {
  switch (work_class) {
    case WorkClass::kControl:
      return raft::Lane::kControl;
    case WorkClass::kCoordination:
      return raft::Lane::kAppend;
    case WorkClass::kData:
      break;
  }
  return raft::Lane::kBulk;
}

}  // namespace

void ToForwardStatus(const Status& status, internal::v1::ForwardStatus* out) {
  out->set_code(static_cast<int>(status.code()));
  out->set_reason(static_cast<int>(status.reason()));
  out->set_message(ErrorText(status.message()));
  for (const auto& [key, value] : status.metadata()) {
    auto& detail = *out->add_details();
    detail.set_key(key);
    detail.set_value(value);
  }
  out->set_retry_after_ms(status.retry_after_ms().value_or(-1));
}

Status FromForwardStatus(const internal::v1::ForwardStatus& in) {
  if (in.code() == 0) return {};
  Status status(CodeOf(in.code()), in.message(), ReasonOf(in.reason()));
  for (const auto& detail : in.details()) status.AddMetadata(detail.key(), detail.value());
  if (in.retry_after_ms() >= 0) return std::move(status).RetryAfterMs(in.retry_after_ms());
  return status;
}

Status Forwarder::Admit(const Request& request, uint64_t bytes) {
  const std::string peer = "broker " + std::to_string(request.to.value());
  if (lifetime_.has_ended() || !transport_->IsConnected(request.to)) {
    return Unavailable(peer + " cannot be reached from here");
  }
  const auto place = static_cast<size_t>(request.method.work_class);
  if (bytes > kBodyBytesMax[place]) {
    return InvalidArgument("a request of " + std::to_string(bytes) + " bytes is not passed on to " +
                           peer + ", only up to " + std::to_string(kBodyBytesMax[place]));
  }
  const Inflight& inflight = inflight_[place];
  const uint64_t bytes_max = kInflightBytesMax[place];
  if (inflight.requests == 0 || inflight.bytes + bytes <= bytes_max) return {};
  return ResourceExhausted("too much is being forwarded from this broker", Reason::kThrottled)
      .RetryAfterMs(50);
}

void Forwarder::Forward(Request request, ForwardDone done) {
  const WorkClass work_class = request.method.work_class;
  const uint64_t bytes = TotalSize(request.body);
  if (Status admitted = Admit(request, bytes); !admitted.ok()) return done(std::move(admitted));
  const uint64_t id = ids_.Next();
  ForwardRequest wire;
  wire.set_request_id(id);
  wire.set_method(std::string(request.method.name));
  wire.set_timeout_ms(static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(request.timeout).count()));
  if (request.principal.name != Principal::kAnonymous) {
    wire.mutable_principal()->set_name(request.principal.name);
  }
  wire.set_expected_leader_epoch(request.expected_leader_epoch.value());
  wire.set_work_class(static_cast<uint32_t>(work_class));
  const TimerId timer =
      executor_->RunAfter(request.timeout, lifetime_.Guard([this, id, to = request.to] {
        Complete(id, DeadlineExceeded("broker " + std::to_string(to.value()) +
                                      " did not answer in time"));
      }));
  Inflight& inflight = InflightOf(work_class);
  ++inflight.requests;
  inflight.bytes += bytes;
  waiting_.emplace(id, Waiting{.to = request.to,
                               .work_class = work_class,
                               .bytes = bytes,
                               .done = std::move(done),
                               .timer = timer});
  transport_->SendPeer(request.to, LaneOf(work_class), raft::PeerKind::kForwardRequest,
                       AttachBytes(wire, std::move(request.body)));
}

void Forwarder::Complete(uint64_t request_id, Result<Bytes> result) {
  auto found = waiting_.find(request_id);
  if (found == waiting_.end()) return;
  Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  Inflight& inflight = InflightOf(waiting.work_class);
  --inflight.requests;
  inflight.bytes -= waiting.bytes;
  executor_->Cancel(waiting.timer);
  waiting.done(std::move(result));
}

void Forwarder::Stop() {
  lifetime_.End();
  for (const auto& [id, waiting] : waiting_) executor_->Cancel(waiting.timer);
  waiting_.clear();
  inflight_ = {};
}

void Forwarder::OnRequest(BrokerId from, const Bytes& message) {
  ForwardRequest wire;
  Result<Bytes> body = DetachBytes(message, &wire);
  if (!body.ok()) {
    LOG(WARNING) << "a forwarded request cannot be read from=" << from << " why=" << body.status();
    return;
  }
  Asker asker{.broker = from, .request_id = wire.request_id()};
  auto handler = handlers_.find(wire.method());
  if (handler == handlers_.end()) {
    return SendReply(asker, Unimplemented("this broker does not know \"" + wire.method() + "\""));
  }
  Served& served = handler->second;
  if (wire.work_class() != static_cast<uint32_t>(served.work_class)) {
    return SendReply(asker, Unimplemented("\"" + wire.method() + "\" is no work of class " +
                                          std::to_string(wire.work_class())));
  }
  asker.work_class = served.work_class;
  ForwardedRequest request{.principal = {},
                           .body = *std::move(body),
                           .timeout = std::chrono::milliseconds(wire.timeout_ms()),
                           .expected_leader_epoch = LeaderEpochFrom(wire.expected_leader_epoch())};
  if (wire.has_principal()) request.principal.name = wire.principal().name();
  served.handler(std::move(request),
                 lifetime_.Guard([this, asker](Result<std::vector<Bytes>> result) {
                   SendReply(asker, std::move(result));
                 }));
}

void Forwarder::SendReply(const Asker& asker, Result<std::vector<Bytes>> result) {
  ForwardReply wire;
  wire.set_request_id(asker.request_id);
  std::vector<Bytes> body;
  const uint64_t bytes_max = kBodyBytesMax[static_cast<size_t>(asker.work_class)];
  if (result.ok() && TotalSize(*result) > bytes_max) {
    result = Internal("an answer is too large to be passed on to another broker");
  }
  if (result.ok()) {
    body = *std::move(result);
  } else {
    ToForwardStatus(result.status(), wire.mutable_status());
  }
  transport_->SendPeer(asker.broker, LaneOf(asker.work_class), raft::PeerKind::kForwardReply,
                       AttachBytes(wire, std::move(body)));
}

void Forwarder::OnReply(BrokerId from, const Bytes& message) {
  ForwardReply wire;
  Result<Bytes> body = DetachBytes(message, &wire);
  if (!body.ok()) {
    LOG(WARNING) << "a forwarded reply cannot be read from=" << from << " why=" << body.status();
    return;
  }
  auto found = waiting_.find(wire.request_id());
  if (found == waiting_.end() || found->second.to != from) return;
  Status status = FromForwardStatus(wire.status());
  if (!status.ok()) return Complete(wire.request_id(), std::move(status));
  Complete(wire.request_id(), *std::move(body));
}

void Forwarder::OnPeerDisconnected(BrokerId peer) {
  std::vector<uint64_t> lost;
  for (const auto& [id, waiting] : waiting_) {
    if (waiting.to == peer) lost.push_back(id);
  }
  for (const uint64_t id : lost) {
    Complete(id, Unavailable("the connection to broker " + std::to_string(peer.value()) +
                             " broke before it answered"));
  }
}

}  // namespace millrace::broker

#include "broker/metadata/forwarder.h"

#include <utility>
#include <vector>

#include <glog/logging.h>

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

}  // namespace

void ToForwardStatus(const Status& status, internal::v1::ForwardStatus* out) {
  out->set_code(static_cast<int>(status.code()));
  out->set_reason(static_cast<int>(status.reason()));
  out->set_message(std::string(status.message()));
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

void Forwarder::Forward(Request request, ForwardDone done) {
  const std::string peer = "broker " + std::to_string(request.to.value());
  if (!transport_->IsConnected(request.to)) {
    done(Unavailable(peer + " cannot be reached from here"));
    return;
  }
  if (!waiting_.empty() && inflight_bytes_ + request.body.size() > kInflightBytesMax) {
    done(ResourceExhausted("too much is being forwarded from this broker", Reason::kThrottled)
             .RetryAfterMs(50));
    return;
  }
  const uint64_t id = next_request_id_++;
  ForwardRequest wire;
  wire.set_request_id(id);
  wire.set_method(std::string(request.method));
  wire.set_body(request.body.data(), request.body.size());
  wire.set_timeout_ms(static_cast<uint32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(request.timeout).count()));
  const TimerId timer = executor_->RunAfter(request.timeout, lifetime_.Guard([this, id, peer] {
    Complete(id, DeadlineExceeded(peer + " did not answer in time"));
  }));
  inflight_bytes_ += request.body.size();
  waiting_.emplace(
      id,
      Waiting{
          .to = request.to, .bytes = request.body.size(), .done = std::move(done), .timer = timer});
  transport_->SendPeer(request.to, raft::Lane::kBulk, raft::PeerKind::kForwardRequest,
                       {Bytes::Own(wire.SerializeAsString())});
}

void Forwarder::Complete(uint64_t request_id, Result<Bytes> result) {
  auto found = waiting_.find(request_id);
  if (found == waiting_.end()) return;
  Waiting waiting = std::move(found->second);
  waiting_.erase(found);
  inflight_bytes_ -= waiting.bytes;
  executor_->Cancel(waiting.timer);
  waiting.done(std::move(result));
}

void Forwarder::ServeHere(std::string_view method, Bytes body, Duration timeout, ForwardDone done) {
  auto handler = handlers_.find(method);
  CHECK(handler != handlers_.end()) << "method=" << method;
  handler->second(std::move(body), timeout, std::move(done));
}

void Forwarder::OnRequest(BrokerId from, const Bytes& body) {
  ForwardRequest wire;
  if (!wire.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    LOG(WARNING) << "a forwarded request cannot be read from=" << from;
    return;
  }
  const uint64_t id = wire.request_id();
  auto handler = handlers_.find(wire.method());
  if (handler == handlers_.end()) {
    SendReply(from, id, Unimplemented("this broker does not know \"" + wire.method() + "\""));
    return;
  }
  if (wire.work_class() != 0) {
    SendReply(from, id,
              Unimplemented("this broker does not know work of class " +
                            std::to_string(wire.work_class())));
    return;
  }
  handler->second(Bytes::Own(std::move(*wire.mutable_body())),
                  std::chrono::milliseconds(wire.timeout_ms()),
                  lifetime_.Guard([this, from, id](Result<Bytes> result) {
                    SendReply(from, id, std::move(result));
                  }));
}

void Forwarder::SendReply(BrokerId to, uint64_t request_id, Result<Bytes> result) {
  ForwardReply wire;
  wire.set_request_id(request_id);
  if (result.ok()) {
    wire.set_body(result->data(), result->size());
  } else {
    ToForwardStatus(result.status(), wire.mutable_status());
  }
  transport_->SendPeer(to, raft::Lane::kBulk, raft::PeerKind::kForwardReply,
                       {Bytes::Own(wire.SerializeAsString())});
}

void Forwarder::OnReply(BrokerId from, const Bytes& body) {
  ForwardReply wire;
  if (!wire.ParseFromArray(body.data(), static_cast<int>(body.size()))) {
    LOG(WARNING) << "a forwarded reply cannot be read from=" << from;
    return;
  }
  auto found = waiting_.find(wire.request_id());
  if (found == waiting_.end() || found->second.to != from) return;
  Status status = FromForwardStatus(wire.status());
  if (status.ok()) {
    Complete(wire.request_id(), Bytes::Own(std::move(*wire.mutable_body())));
  } else {
    Complete(wire.request_id(), std::move(status));
  }
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

// Requests that go one hop to another broker, over the peers' bulk lane, and their replies. A
// forward is never retried here and never passed on again; who asked decides what to do about an
// error (design D9).
//
// Owned by the Node, on the shard's thread.
//
//   forwarder.Forward({.to = leader, .method = kForwardProduce, .body = ..., .timeout = 5s}, done);
//   forwarder.Serve(kForwardProduce, [](Bytes body, Duration timeout, ForwardDone done) { ... });
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "millrace/internal/v1/controller.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// What a forwarded body is; see proto/millrace/internal/v1/controller.proto.
inline constexpr std::string_view kForwardProduce = "produce";
inline constexpr std::string_view kForwardRead = "read";
inline constexpr std::string_view kForwardOffsets = "offsets";
inline constexpr std::string_view kForwardRegister = "register";
inline constexpr std::string_view kForwardAllocateProducerIds = "allocate_producer_ids";
inline constexpr std::string_view kForwardCreateTopic = "create_topic";
inline constexpr std::string_view kForwardDeleteTopic = "delete_topic";

using ForwardDone = MoveFunction<void(Result<Bytes>)>;
using ForwardHandler = MoveFunction<void(Bytes body, Duration timeout, ForwardDone done)>;

class Forwarder {
 public:
  struct Request {
    BrokerId to;
    std::string_view method;
    Bytes body;
    Duration timeout{};
  };
  // Bytes of requests unanswered at most, past which Forward refuses.
  static constexpr uint64_t kInflightBytesMax = 64 << 20;

  Forwarder(Executor& executor, raft::Transport& transport)
      : executor_(&executor), transport_(&transport) {}
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // Calls `done` once: with the reply, the other side's error, UNAVAILABLE if the connection breaks
  // or there is none, or DEADLINE_EXCEEDED.
  void Forward(Request request, ForwardDone done);
  // Serves a request of this broker's own. Pre: `method` has a handler.
  void ServeHere(std::string_view method, Bytes body, Duration timeout, ForwardDone done);
  void Serve(std::string_view method, ForwardHandler handler) {
    handlers_.emplace(method, std::move(handler));
  }

  // From the Transport.
  void OnRequest(BrokerId from, const Bytes& body);
  void OnReply(BrokerId from, const Bytes& body);
  void OnPeerDisconnected(BrokerId peer);

 private:
  struct Waiting {
    BrokerId to;
    uint64_t bytes = 0;
    ForwardDone done;
    TimerId timer;
  };
  void Complete(uint64_t request_id, Result<Bytes> result);
  void SendReply(BrokerId to, uint64_t request_id, Result<Bytes> result);

  Executor* executor_;
  raft::Transport* transport_;
  std::map<std::string, ForwardHandler, std::less<>> handlers_;
  std::map<uint64_t, Waiting> waiting_;
  uint64_t next_request_id_ = 1;
  uint64_t inflight_bytes_ = 0;
  Lifetime lifetime_;
};

// A Status across the wire and back.
void ToForwardStatus(const Status& status, internal::v1::ForwardStatus* out);
Status FromForwardStatus(const internal::v1::ForwardStatus& in);

}  // namespace millrace::broker

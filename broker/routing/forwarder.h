// Requests that go one hop to another broker, over the peers' lanes, and their replies. A forward
// is never retried here and never passed on again; who asked decides what to do about an error
// (design D9).
//
// Owned by the Node, on the shard's thread.
//
//   forwarder.Forward({.to = leader, .method = kForwardProduce, .body = pieces, .timeout = 5s},
//                     [](Result<Bytes> reply) { ... });
//   forwarder.Serve(kForwardProduce, [](ForwardedRequest request, ForwardReplied done) { ... });
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "broker/api/principal.h"
#include "broker/controller/leader_epoch.h"
#include "millrace/internal/v1/forward.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// What a body is; proto/millrace/internal/v1/forward.proto has the messages.
inline constexpr std::string_view kForwardProduce = "produce";
inline constexpr std::string_view kForwardRead = "read";
inline constexpr std::string_view kForwardOffsets = "offsets";
inline constexpr std::string_view kForwardRegister = "register";
inline constexpr std::string_view kForwardAllocateProducerIds = "allocate_producer_ids";
inline constexpr std::string_view kForwardCreateTopic = "create_topic";
inline constexpr std::string_view kForwardDeleteTopic = "delete_topic";

// How long another broker may take to answer, unless the client wants less (TimeFor).
inline constexpr Duration kForwardTimeout = std::chrono::seconds(10);

// What kind of work a request is. Each has a budget and a lane of its own, so that a cluster whose
// brokers pass on as much data as they may still elects, registers and creates. On the wire.
enum class WorkClass : uint8_t {
  kData = 0,     // records, on their way in or out
  kControl = 1,  // what is asked of the controller
};
inline constexpr size_t kWorkClassCount = 2;

// As it arrives.
struct ForwardedRequest {
  Principal principal;
  Bytes body;
  Duration timeout{};
  // 0: whichever leads is meant.
  LeaderEpoch expected_leader_epoch;
};
// The reply as pieces that are not copied, or the error.
using ForwardReplied = MoveFunction<void(Result<std::vector<Bytes>>)>;
using ForwardHandler = MoveFunction<void(ForwardedRequest, ForwardReplied)>;
// The reply in one piece.
using ForwardDone = MoveFunction<void(Result<Bytes>)>;

class Forwarder {
 public:
  struct Request {
    BrokerId to = {};
    std::string_view method;
    std::vector<Bytes> body;
    Duration timeout{};
    Principal principal = {};
    LeaderEpoch expected_leader_epoch = {};
    WorkClass work_class = WorkClass::kData;
  };
  // Bytes of a class's unanswered requests past which Forward refuses; a single one passes.
  static constexpr std::array<uint64_t, kWorkClassCount> kInflightBytesMax = {64 << 20, 4 << 20};

  Forwarder(Executor& executor, raft::Transport& transport)
      : executor_(&executor), transport_(&transport) {}
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // Calls `done` once: with the reply, the other side's error, UNAVAILABLE if the connection breaks
  // or there is none, or DEADLINE_EXCEEDED.
  void Forward(Request request, ForwardDone done);
  void Serve(std::string_view method, ForwardHandler handler) {
    handlers_.emplace(method, std::move(handler));
  }

  // From the Transport.
  void OnRequest(BrokerId from, const Bytes& message);
  void OnReply(BrokerId from, const Bytes& message);
  void OnPeerDisconnected(BrokerId peer);

 private:
  struct Waiting {
    BrokerId to;
    WorkClass work_class = WorkClass::kData;
    uint64_t bytes = 0;
    ForwardDone done;
    TimerId timer;
  };
  // Where a reply goes.
  struct Asker {
    BrokerId broker;
    uint64_t request_id = 0;
    WorkClass work_class = WorkClass::kData;
  };
  struct Inflight {
    uint64_t requests = 0;
    uint64_t bytes = 0;
  };

  Inflight& InflightOf(WorkClass work_class) { return inflight_[static_cast<size_t>(work_class)]; }
  Status Admit(WorkClass work_class, uint64_t bytes);
  void Complete(uint64_t request_id, Result<Bytes> result);
  void SendReply(const Asker& asker, Result<std::vector<Bytes>> result);

  Executor* executor_;
  raft::Transport* transport_;
  std::map<std::string, ForwardHandler, std::less<>> handlers_;
  std::map<uint64_t, Waiting> waiting_;
  uint64_t next_request_id_ = 1;
  std::array<Inflight, kWorkClassCount> inflight_;
  Lifetime lifetime_;
};

// A Status across the wire and back.
void ToForwardStatus(const Status& status, internal::v1::ForwardStatus* out);
Status FromForwardStatus(const internal::v1::ForwardStatus& in);

}  // namespace millrace::broker

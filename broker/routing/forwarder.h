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
#include "raft/ports/request_ids.h"
#include "raft/ports/transport.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// What kind of work a request is. Each has a budget and a lane of its own, so that brokers that
// pass on as much data as they may still register and create. On the wire.
enum class WorkClass : uint8_t {
  kData = 0,     // records, on their way in or out
  kControl = 1,  // what is asked of the controller
  // Of the coordinator: small, and many groups wait for it, so that it goes before data.
  kCoordination = 2,
};
inline constexpr size_t kWorkClassCount = 3;

// What a body is; proto/millrace/internal/v1/forward.proto has the messages.
struct ForwardMethod {
  std::string_view name;
  WorkClass work_class = WorkClass::kData;
};
inline constexpr ForwardMethod kForwardProduce{"produce", WorkClass::kData};
// A batch that is stored at one place or not at all.
inline constexpr ForwardMethod kForwardProduceAt{"produce_at", WorkClass::kData};
inline constexpr ForwardMethod kForwardRead{"read", WorkClass::kData};
inline constexpr ForwardMethod kForwardOffsets{"offsets", WorkClass::kData};
// How far readers of many partitions are behind.
inline constexpr ForwardMethod kForwardUnread{"unread", WorkClass::kCoordination};
inline constexpr ForwardMethod kForwardDelete{"delete_records", WorkClass::kData};
inline constexpr ForwardMethod kForwardRegister{"register", WorkClass::kControl};
inline constexpr ForwardMethod kForwardAllocateProducerIds{"allocate_producer_ids",
                                                           WorkClass::kControl};
inline constexpr ForwardMethod kForwardCreateTopic{"create_topic", WorkClass::kControl};
inline constexpr ForwardMethod kForwardDeleteTopic{"delete_topic", WorkClass::kControl};
inline constexpr ForwardMethod kForwardAlterTopic{"alter_topic", WorkClass::kControl};

// How long another broker may take to answer, where nobody wants less.
inline constexpr Duration kForwardTimeout = std::chrono::seconds(10);

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
    ForwardMethod method = {};
    std::vector<Bytes> body;
    Duration timeout{};
    Principal principal = {};
    LeaderEpoch expected_leader_epoch = {};
  };
  // Bytes of a class's unanswered requests past which Forward refuses; a single one passes.
  static constexpr std::array<uint64_t, kWorkClassCount> kInflightBytesMax = {64 << 20, 1 << 20,
                                                                              8 << 20};
  // Bytes of one body, of a request or a reply. Data: a batch of any size that can be stored, and a
  // read's answer. Control: it stands before heartbeats. Coordination: a client's message.
  static constexpr std::array<uint64_t, kWorkClassCount> kBodyBytesMax = {20 << 20, 64 << 10,
                                                                          5 << 20};

  Forwarder(Executor& executor, raft::Transport& transport, BootEpoch boot_epoch)
      : executor_(&executor), transport_(&transport), ids_(boot_epoch) {}
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // Calls `done` once: with the reply, the other side's error, UNAVAILABLE if the connection breaks
  // or there is none, RESOURCE_EXHAUSTED past a budget, INVALID_ARGUMENT if the body is too large,
  // or DEADLINE_EXCEEDED. Never after Stop.
  void Forward(Request request, ForwardDone done);
  void Serve(const ForwardMethod& method, ForwardHandler handler) {
    handlers_.emplace(method.name, Served{method.work_class, std::move(handler)});
  }
  // Forgets what waits, and sends nothing any more: the transport may go.
  void Stop();

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
  struct Served {
    WorkClass work_class = WorkClass::kData;
    ForwardHandler handler;
  };
  struct Inflight {
    uint64_t requests = 0;
    uint64_t bytes = 0;
  };

  Inflight& InflightOf(WorkClass work_class) { return inflight_[static_cast<size_t>(work_class)]; }
  Status Admit(const Request& request, uint64_t bytes);
  void Complete(uint64_t request_id, Result<Bytes> result);
  void SendReply(const Asker& asker, Result<std::vector<Bytes>> result);

  Executor* executor_;
  raft::Transport* transport_;
  std::map<std::string, Served, std::less<>> handlers_;
  std::map<uint64_t, Waiting> waiting_;
  raft::RequestIds ids_;
  std::array<Inflight, kWorkClassCount> inflight_;
  Lifetime lifetime_;
};

// A Status across the wire and back. Its message becomes valid text of at most 1 KiB.
void ToForwardStatus(const Status& status, internal::v1::ForwardStatus* out);
Status FromForwardStatus(const internal::v1::ForwardStatus& in);

}  // namespace millrace::broker

// A GrpcEdge on a free port with a registry of the test's own, and a client that sends bytes: what
// the tests of broker/edge share.
//
// Made on the test's thread; handlers run on the harness's shard. OnShard is how the test looks at
// what they did.
//
//   EdgeHarness harness;
//   harness.registry().AddCall(kUnaryMethod, [](std::shared_ptr<Call> call) { ... });
//   harness.Start();
//   Reply reply = harness.CallUnary(kUnaryMethod, "request");
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <glog/logging.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/support/sync_stream.h>

#include "broker/api/service_registry.h"
#include "broker/edge/byte_transfer.h"
#include "broker/edge/grpc_edge.h"
#include "raft/runtime/loop_thread.h"
#include "raft/runtime/real_clock.h"

namespace millrace::broker::edge {

inline constexpr char kUnaryMethod[] = "/millrace.v1.MetadataService/GetServerInfo";
inline constexpr char kStreamMethod[] = "/millrace.v1.ProducerService/Produce";
inline constexpr char kOtherStreamMethod[] = "/millrace.v1.ConsumerService/Fetch";
inline constexpr char kServerStreamMethod[] = "/millrace.v1.ConsumerService/Subscribe";
inline constexpr std::chrono::seconds kTestTimeMax{20};

inline grpc::ByteBuffer ToBuffer(std::string_view text) { return Scatter({Bytes::CopyOf(text)}); }
inline std::string ToText(const grpc::ByteBuffer& buffer) {
  return std::string(Gather(buffer).view());
}

struct Reply {
  grpc::Status status;
  std::string body;
};

// One stream of the client's, blocking.
class ClientStream {
 public:
  ClientStream(const std::shared_ptr<grpc::Channel>& channel, const char* method)
      : rpc_(grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
            channel.get(),
            grpc::internal::RpcMethod(method, grpc::internal::RpcMethod::BIDI_STREAMING, channel),
            &context_)) {}

  bool Write(std::string_view text) { return rpc_->Write(ToBuffer(text)); }
  // Nothing at the stream's end.
  std::optional<std::string> Read() {
    grpc::ByteBuffer buffer;
    if (!rpc_->Read(&buffer)) return std::nullopt;
    return ToText(buffer);
  }
  void HalfClose() { rpc_->WritesDone(); }
  grpc::Status Finish() { return rpc_->Finish(); }
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>> rpc_;
};

class EdgeHarness {
 public:
  EdgeHarness() { options_.listen = {.host = "127.0.0.1", .port = 0}; }
  ~EdgeHarness() {
    if (edge_ != nullptr) Stop();
  }

  GrpcEdge::Options& options() { return options_; }
  ServiceRegistry& registry() { return registry_; }
  // On the shard, once started.
  ClientMemory& memory() { return memory_; }
  GrpcEdge& edge() { return *edge_; }
  const Endpoint& endpoint() const { return endpoint_; }

  void Start() {
    OnShard([this] {
      edge_ =
          std::make_unique<GrpcEdge>(options_, shard_.executor(), clock_,
                                     GrpcEdge::Services{.registry = registry_, .memory = memory_});
      const Result<Endpoint> bound = edge_->Start();
      CHECK(bound.ok()) << bound.status();
      endpoint_ = *bound;
    });
  }
  void Stop() {
    OnShard([this] { edge_.reset(); });
  }

  // Runs `task` on the shard, and waits for it.
  void OnShard(const std::function<void()>& task) {
    shard_.RunAndWait([&task] { task(); });
  }
  // Waits until `is_so`, asked on the shard, is true; false when the time is over.
  bool WaitUntil(const std::function<bool()>& is_so) {
    const auto deadline = std::chrono::steady_clock::now() + kTestTimeMax;
    bool is_met = false;
    while (!is_met && std::chrono::steady_clock::now() < deadline) {
      OnShard([&] { is_met = is_so(); });
      if (!is_met) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return is_met;
  }
  // Waits until every call is over.
  bool WaitUntilIdle() {
    return WaitUntil([this] { return edge_->open_count() == 0; });
  }

  // A connection of its own each time.
  std::shared_ptr<grpc::Channel> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(endpoint_.ToString(), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  Reply CallUnary(const char* method, std::string_view request,
                  std::chrono::milliseconds time_max = kTestTimeMax) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + time_max);
    const auto channel = Connect();
    grpc::ByteBuffer response;
    Reply reply;
    reply.status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        channel.get(),
        grpc::internal::RpcMethod(method, grpc::internal::RpcMethod::NORMAL_RPC, channel), &context,
        ToBuffer(request), &response);
    if (reply.status.ok()) reply.body = ToText(response);
    return reply;
  }

 private:
  LoopThread shard_{"shard"};
  RealClock clock_;
  ServiceRegistry registry_;
  ClientMemory memory_{uint64_t{16} << 20};
  GrpcEdge::Options options_;
  std::unique_ptr<GrpcEdge> edge_;
  Endpoint endpoint_;
};

// What a stream's handler saw; on the shard's thread.
struct Probe {
  std::shared_ptr<Stream> stream;  // the latest one
  std::vector<std::string> messages;
  int half_close_count = 0;
  int writable_count = 0;
  int closed_count = 0;
};

// Writes into a Probe, and echoes if it is told to.
class ProbeHandler final : public StreamHandler {
 public:
  ProbeHandler(std::shared_ptr<Probe> probe, std::shared_ptr<Stream> stream, bool is_echo)
      : probe_(std::move(probe)), stream_(std::move(stream)), is_echo_(is_echo) {
    probe_->stream = stream_;
  }
  void OnMessage(Bytes message) override {
    CHECK(!is_closed_);
    probe_->messages.emplace_back(message.view());
    if (is_echo_) stream_->Write({std::move(message)});
  }
  void OnHalfClose() override {
    CHECK(!is_closed_);
    ++probe_->half_close_count;
    if (is_echo_) stream_->Finish(Status::Ok());
  }
  void OnWritable() override {
    CHECK(!is_closed_);
    ++probe_->writable_count;
  }
  void OnClosed() override {
    CHECK(!is_closed_);
    is_closed_ = true;
    ++probe_->closed_count;
  }

 private:
  std::shared_ptr<Probe> probe_;  // shared with the test and the method's other streams
  std::shared_ptr<Stream> stream_;
  bool is_echo_;
  bool is_closed_ = false;
};

// Serves `method` with ProbeHandlers that share one Probe.
inline std::shared_ptr<Probe> AddProbe(EdgeHarness& harness, const char* method, bool is_echo) {
  auto probe = std::make_shared<Probe>();
  harness.registry().AddStream(method, [probe, is_echo](std::shared_ptr<Stream> stream) {
    return std::make_unique<ProbeHandler>(probe, std::move(stream), is_echo);
  });
  return probe;
}

}  // namespace millrace::broker::edge

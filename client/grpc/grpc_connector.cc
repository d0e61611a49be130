#include "client/grpc/grpc_connector.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include "client/grpc/grpc_bytes.h"

namespace millrace::client {
namespace {

// What a completion queue's tag points to. Runs on the poller.
class Tag {
 public:
  virtual ~Tag() = default;
  virtual void OnEvent(bool ok) = 0;
};

// Hands work from the poller to the executor: what comes while the executor has not caught up
// shares one Post. Shared by the poller's calls, the connector and the task that is posted.
class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  explicit Mailbox(Executor& executor) : executor_(executor) {}

  void Put(Task task) {
    {
      const std::lock_guard<std::mutex> lock(mu_);
      if (is_closed_) return;
      tasks_.push_back(std::move(task));
      if (is_posted_) return;
      is_posted_ = true;
    }
    executor_.Post([self = shared_from_this()] { self->Drain(); });
  }

  // Nothing that was or will be put runs any more. On the executor.
  void Close() {
    std::vector<Task> dropped;
    const std::lock_guard<std::mutex> lock(mu_);
    is_closed_ = true;
    dropped.swap(tasks_);
  }

  // A call has begun or ended, of all its tags but a last write's.
  void CountCall(int change) {
    const std::lock_guard<std::mutex> lock(mu_);
    live_calls_ += change;
    if (live_calls_ == 0) all_ended_.notify_all();
  }
  void WaitForCalls() {
    std::unique_lock<std::mutex> lock(mu_);
    all_ended_.wait(lock, [this] { return live_calls_ == 0; });
  }

 private:
  void Drain() {
    std::vector<Task> tasks;
    {
      const std::lock_guard<std::mutex> lock(mu_);
      tasks.swap(tasks_);
      is_posted_ = false;
    }
    for (Task& task : tasks) {
      if (IsClosed()) return;
      task();
    }
  }
  bool IsClosed() {
    const std::lock_guard<std::mutex> lock(mu_);
    return is_closed_;
  }

  Executor& executor_;
  std::mutex mu_;
  std::condition_variable all_ended_;
  std::vector<Task> tasks_;  // guarded by mu_
  bool is_posted_ = false;   // guarded by mu_
  bool is_closed_ = false;   // guarded by mu_
  int live_calls_ = 0;       // guarded by mu_
};

// What the connector knows of a call or stream under way: that it lives, and how to end it.
class LiveCall {
 public:
  virtual ~LiveCall() = default;
  virtual void Cancel() = 0;
};

// A unary call under way. Shared by the connector, which may cancel it, and its one event.
class UnaryCall final : public Tag,
                        public LiveCall,
                        public std::enable_shared_from_this<UnaryCall> {
 public:
  UnaryCall(std::shared_ptr<Mailbox> mailbox, RpcTarget target, RpcDone done)
      : mailbox_(std::move(mailbox)), target_(std::move(target)), done_(std::move(done)) {}

  void Start(grpc::GenericStub* stub, const RpcRequest& request, grpc::CompletionQueue* queue) {
    const int64_t timeout_us = std::max<int64_t>(request.timeout.count(), 1);
    context_.set_deadline(
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros(timeout_us, GPR_TIMESPAN)));
    mailbox_->CountCall(1);
    hold_ = shared_from_this();
    reader_ =
        stub->PrepareUnaryCall(&context_, request.method, ToByteBuffer({request.body}), queue);
    reader_->StartCall();
    reader_->Finish(&response_, &status_, this);
  }
  void Cancel() override { context_.TryCancel(); }

  void OnEvent(bool) override {
    const std::shared_ptr<UnaryCall> self = std::move(hold_);
    mailbox_->Put([self] { self->Deliver(); });
    mailbox_->CountCall(-1);
  }

 private:
  void Deliver() {
    done_(status_.ok() ? Result<Bytes>(ToBytes(response_)) : ToStatus(status_, target_));
  }

  std::shared_ptr<Mailbox> mailbox_;
  const RpcTarget target_;
  RpcDone done_;
  std::shared_ptr<UnaryCall> hold_;  // while gRPC has the tag
  grpc::ClientContext context_;
  grpc::ByteBuffer response_;
  grpc::Status status_;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader_;
};

// A stream under way: reads on the poller, one after the other; writes from the executor, one at a
// time. Shared by its RpcStream and by each operation that gRPC has a tag of.
class StreamCall final : public LiveCall, public std::enable_shared_from_this<StreamCall> {
 public:
  StreamCall(std::shared_ptr<Mailbox> mailbox, RpcTarget target, RpcStreamHandler* handler)
      : mailbox_(std::move(mailbox)), target_(std::move(target)), handler_(handler) {}

  void Start(grpc::GenericStub* stub, grpc::CompletionQueue* queue) {
    mailbox_->CountCall(1);
    stream_ = stub->PrepareCall(&context_, target_.method, queue);
    stream_->StartCall(start_.Take(shared_from_this()));
  }
  void Write(std::vector<Bytes> pieces) {
    waiting_.push_back(ToByteBuffer(pieces));
    WriteNext();
  }
  void Cancel() override { context_.TryCancel(); }
  // The handler is gone.
  void Detach() {
    handler_ = nullptr;
    waiting_.clear();
    Cancel();
  }

 private:
  class Operation final : public Tag {
   public:
    explicit Operation(void (StreamCall::*done)(bool)) : done_(done) {}
    Tag* Take(std::shared_ptr<StreamCall> call) {
      CHECK(hold_ == nullptr);
      hold_ = std::move(call);
      return this;
    }
    void OnEvent(bool ok) override {
      const std::shared_ptr<StreamCall> call = std::move(hold_);
      (call.get()->*done_)(ok);
    }

   private:
    void (StreamCall::* const done_)(bool);
    std::shared_ptr<StreamCall> hold_;  // while gRPC has the tag
  };

  // On the poller.
  void OnStarted(bool ok) {
    if (!ok) return StartFinish();
    StartRead();
    mailbox_->Put([self = shared_from_this()] {
      self->is_started_ = true;
      self->WriteNext();
    });
  }
  void StartRead() { stream_->Read(&incoming_, read_.Take(shared_from_this())); }
  void OnRead(bool ok) {
    if (!ok) return StartFinish();
    Bytes message = ToBytes(incoming_);
    incoming_.Clear();
    StartRead();
    mailbox_->Put([self = shared_from_this(), message = std::move(message)]() mutable {
      if (self->handler_ != nullptr) self->handler_->OnMessage(std::move(message));
    });
  }
  void OnWritten(bool ok) {
    mailbox_->Put([self = shared_from_this(), ok] {
      self->is_writing_ = false;
      if (ok) self->WriteNext();  // if not, the read fails too and the stream ends
    });
  }
  void StartFinish() { stream_->Finish(&status_, finish_.Take(shared_from_this())); }
  void OnFinished(bool) {
    mailbox_->Put([self = shared_from_this()] { self->DeliverEnd(); });
    mailbox_->CountCall(-1);
  }

  // On the executor.
  void WriteNext() {
    if (!is_started_ || is_writing_ || is_ended_ || waiting_.empty()) return;
    is_writing_ = true;
    grpc::WriteOptions options;
    if (waiting_.size() > 1) options.set_buffer_hint();
    stream_->Write(waiting_.front(), options, write_.Take(shared_from_this()));
    waiting_.pop_front();
  }
  void DeliverEnd() {
    is_ended_ = true;
    waiting_.clear();
    if (handler_ == nullptr) return;
    const Status status = ToStatus(status_, target_);
    std::exchange(handler_, nullptr)->OnClosed(status);
  }

  std::shared_ptr<Mailbox> mailbox_;
  const RpcTarget target_;
  Operation start_{&StreamCall::OnStarted};
  Operation read_{&StreamCall::OnRead};
  Operation write_{&StreamCall::OnWritten};
  Operation finish_{&StreamCall::OnFinished};
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer incoming_;  // the poller's
  grpc::Status status_;        // the poller's until the end is delivered
  // The executor's:
  RpcStreamHandler* handler_;
  std::deque<grpc::ByteBuffer> waiting_;
  bool is_started_ = false;
  bool is_writing_ = false;
  bool is_ended_ = false;
};

class GrpcStream final : public RpcStream {
 public:
  explicit GrpcStream(std::shared_ptr<StreamCall> call) : call_(std::move(call)) {}
  ~GrpcStream() override { call_->Detach(); }
  void Write(std::vector<Bytes> pieces) override { call_->Write(std::move(pieces)); }

 private:
  std::shared_ptr<StreamCall> call_;  // shared with gRPC's operations
};

grpc::ChannelArguments ChannelOptions(const GrpcConnector::Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.message_bytes_max);
  arguments.SetMaxSendMessageSize(options.message_bytes_max);
  const auto ms = [](Duration d) { return static_cast<int>(d.count() / 1000); };
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, ms(options.reconnect_backoff_min));
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, ms(options.reconnect_backoff_max));
  // How long one try to connect may take.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, ms(options.connect_timeout));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ms(options.keepalive_time));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms(options.keepalive_timeout));
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // What a connection's end leaves in doubt is this library's to send again, in order.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Channels of the same options would share one connection otherwise, and its streams with it.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return arguments;
}

// One connection to a broker. What exceeds the broker's bound of streams a connection would wait in
// gRPC without a word, so a connection takes fewer than any broker allows.
class BrokerConnection {
 public:
  BrokerConnection(const std::string& address, const GrpcConnector::Options& options)
      : stub_(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                        ChannelOptions(options))) {}

  bool HasRoom() {
    std::erase_if(calls_, [](const std::weak_ptr<LiveCall>& call) { return call.expired(); });
    return calls_.size() < GrpcConnector::kCallsPerConnectionMax;
  }
  bool is_idle() const { return calls_.empty(); }
  // Pre: HasRoom().
  grpc::GenericStub* Take(const std::shared_ptr<LiveCall>& call) {
    calls_.push_back(call);
    return &stub_;
  }
  void CancelAll() {
    for (const std::weak_ptr<LiveCall>& call : calls_) {
      if (const std::shared_ptr<LiveCall> live = call.lock()) live->Cancel();
    }
  }

 private:
  grpc::GenericStub stub_;
  std::vector<std::weak_ptr<LiveCall>> calls_;
};

// The connections to one broker: the first that has room takes a call.
class BrokerConnections {
 public:
  BrokerConnection& WithRoom(const std::string& address, const GrpcConnector::Options& options) {
    BrokerConnection* found = nullptr;
    for (const auto& connection : connections_) {
      if (connection->HasRoom() && found == nullptr) found = connection.get();
    }
    // The first one stays, so that the next call need not connect again.
    std::erase_if(connections_, [&](const auto& connection) {
      return connection->is_idle() && connection.get() != found &&
             connection != connections_.front();
    });
    if (found != nullptr) return *found;
    return *connections_.emplace_back(std::make_unique<BrokerConnection>(address, options));
  }
  void CancelAll() {
    for (const auto& connection : connections_) connection->CancelAll();
  }

 private:
  std::vector<std::unique_ptr<BrokerConnection>> connections_;
};

}  // namespace

class GrpcConnector::Impl {
 public:
  Impl(Executor& executor, const Options& options)
      : options_(options), mailbox_(std::make_shared<Mailbox>(executor)) {
    poller_ = std::thread([this] { Poll(); });
  }

  ~Impl() {
    mailbox_->Close();
    for (auto& [address, connections] : brokers_) connections.CancelAll();
    mailbox_->WaitForCalls();  // for a live call may still start operations
    queue_.Shutdown();
    poller_.join();
  }

  void Call(const RpcRequest& request, RpcDone done) {
    auto call = std::make_shared<UnaryCall>(
        mailbox_,
        RpcTarget{.address = request.address, .method = request.method, .timeout = request.timeout},
        std::move(done));
    call->Start(StubFor(request.address, call), request, &queue_);
  }

  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string& method,
                                        RpcStreamHandler* handler) {
    auto call = std::make_shared<StreamCall>(
        mailbox_, RpcTarget{.address = address, .method = method}, handler);
    call->Start(StubFor(address, call), &queue_);
    return std::make_unique<GrpcStream>(std::move(call));
  }

 private:
  void Poll() {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) static_cast<Tag*>(tag)->OnEvent(ok);
  }

  grpc::GenericStub* StubFor(const std::string& address, const std::shared_ptr<LiveCall>& call) {
    return brokers_[address].WithRoom(address, options_).Take(call);
  }

  const Options options_;
  std::shared_ptr<Mailbox> mailbox_;
  grpc::CompletionQueue queue_;
  std::map<std::string, BrokerConnections> brokers_;
  std::thread poller_;
};

GrpcConnector::GrpcConnector(Executor& executor, const Options& options)
    : impl_(std::make_unique<Impl>(executor, options)) {}

GrpcConnector::~GrpcConnector() = default;

void GrpcConnector::Call(RpcRequest request, RpcDone done) {
  impl_->Call(request, std::move(done));
}

std::unique_ptr<RpcStream> GrpcConnector::OpenStream(const std::string& address,
                                                     const std::string& method,
                                                     RpcStreamHandler* handler) {
  return impl_->OpenStream(address, method, handler);
}

}  // namespace millrace::client

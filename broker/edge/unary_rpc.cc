#include "broker/edge/unary_rpc.h"

#include <utility>

#include <glog/logging.h>

#include "broker/edge/byte_transfer.h"
#include "broker/edge/caller.h"
#include "broker/edge/status_map.h"

namespace millrace::broker::edge {

// The service's side of a UnaryRpc.
class EdgeCall final : public Call {
 public:
  EdgeCall(UnaryRpc* rpc, Principal principal, Bytes request, MonotonicTime deadline)
      : rpc_(rpc),
        principal_(std::move(principal)),
        request_(std::move(request)),
        deadline_(deadline) {}
  ~EdgeCall() override {
    if (rpc_ != nullptr) rpc_->Fail(Internal("the service let the call go without an answer"));
  }

  const Principal& principal() const override { return principal_; }
  const Bytes& request() const override { return request_; }
  MonotonicTime deadline() const override { return deadline_; }
  void Reply(Bytes response) override {
    TakeAnswer();
    if (rpc_ != nullptr) rpc_->Reply(std::move(response));
  }
  void Fail(const Status& status) override {
    TakeAnswer();
    CHECK(!status.ok()) << "a call fails with an ok status";
    if (rpc_ != nullptr) rpc_->Fail(status);
  }

  // The client has its answer or is gone; what the service does from now on has no effect.
  void Detach() { rpc_ = nullptr; }

 private:
  void TakeAnswer() { CHECK(!std::exchange(is_answered_, true)) << "a call is answered twice"; }

  UnaryRpc* rpc_;
  Principal principal_;
  Bytes request_;
  MonotonicTime deadline_;
  bool is_answered_ = false;
};

UnaryRpc::UnaryRpc(RpcTable& table, const MethodRef& method, uint64_t id)
    : table_(&table), method_(method), id_(id) {}

UnaryRpc::~UnaryRpc() { CHECK(call_ == nullptr); }

void UnaryRpc::Request() {
  method_.service->RequestUnary(
      method_.index,
      {.context = &context_, .queue = table_->environment().queue, .completion = &arrival_},
      &request_buffer_, &writer_);
}

void UnaryRpc::Arrival::OnPolled(bool ok) {
  if (!ok) return;
  owner_->request_ = Gather(owner_->request_buffer_);
  owner_->request_buffer_.Clear();
}

void UnaryRpc::OnArrived(bool ok) {
  if (!ok) return table_->Remove(id_);
  table_->OnArrived(id_, method_);
  Dispatch();
}

void UnaryRpc::Dispatch() {
  const Status admitted = table_->Admit();
  if (!admitted.ok()) return Fail(admitted);
  const RpcTable::Environment& environment = table_->environment();
  MemoryBudget& memory = environment.memory.incoming;
  if (memory.free() < request_.size()) {
    return Fail(ResourceExhausted("this broker holds as many unanswered calls as its memory for "
                                  "clients allows",
                                  Reason::kThrottled)
                    .RetryAfterMs(100));
  }
  memory_ = MemoryHold(memory, request_.size());
  CallHandler* handler = environment.registry.FindCall(method_.path());
  if (handler == nullptr) {
    return Fail(Unimplemented("this version does not serve " + method_.path()));
  }
  auto call = std::make_shared<EdgeCall>(this, CallerOf(context_), std::move(request_),
                                         DeadlineOf(context_, environment.clock));
  call_ = call.get();
  (*handler)(std::move(call));
}

void UnaryRpc::Reply(Bytes response) {
  if (call_ != nullptr) std::exchange(call_, nullptr)->Detach();
  std::vector<Bytes> pieces;
  pieces.push_back(std::move(response));
  writer_.Finish(Scatter(std::move(pieces)), grpc::Status::OK, &finish_);
}

void UnaryRpc::Fail(const Status& status) {
  if (call_ != nullptr) std::exchange(call_, nullptr)->Detach();
  writer_.FinishWithError(ToGrpcStatus(status), &finish_);
}

void UnaryRpc::Abort(const Status& status) {
  if (call_ != nullptr) Fail(status);  // else its answer is on its way
}

void UnaryRpc::OnFinished(bool) { table_->Remove(id_); }

}  // namespace millrace::broker::edge

#include "broker/edge/stream_rpc.h"

#include <string>
#include <utility>

#include <glog/logging.h>
#include <grpc/grpc.h>

#include "broker/edge/byte_transfer.h"
#include "broker/edge/caller.h"
#include "broker/edge/status_map.h"

namespace millrace::broker::edge {
namespace {

// What a queued message costs beside its bytes: gRPC's buffer and its slices.
constexpr uint64_t kQueuedBytes = 512;

}  // namespace

// The service's side of a StreamRpc.
class EdgeStream final : public Stream {
 public:
  EdgeStream(StreamRpc* rpc, Principal principal) : rpc_(rpc), principal_(std::move(principal)) {}

  const Principal& principal() const override { return principal_; }
  void Write(std::vector<Bytes> pieces) override {
    if (rpc_ != nullptr) rpc_->Write(std::move(pieces));
  }
  uint64_t pending_bytes() const override { return rpc_ == nullptr ? 0 : rpc_->pending_bytes(); }
  void SetReading(bool on) override {
    if (rpc_ != nullptr) rpc_->SetReading(on);
  }
  void Finish(const Status& status) override {
    if (rpc_ != nullptr) rpc_->Finish(status);
  }

  // The stream is closed; what the service does from now on has no effect.
  void Detach() { rpc_ = nullptr; }

 private:
  StreamRpc* rpc_;
  Principal principal_;
};

StreamRpc::StreamRpc(RpcTable& table, const MethodRef& method, uint64_t id)
    : table_(&table), method_(method), id_(id) {}

StreamRpc::~StreamRpc() {
  CHECK_EQ(under_way_, 0u);
  CHECK(handler_ == nullptr);
}

void StreamRpc::Request() {
  // Reports the end whether or not a read is under way: a client that vanishes while the handler
  // does not read would not be noticed otherwise.
  context_.AsyncNotifyWhenDone(&done_);
  under_way_ = 1;
  method_.service->RequestStream(
      method_.index,
      {.context = &context_, .queue = table_->environment().queue, .completion = &arrival_},
      &stream_);
}

void StreamRpc::OnArrived(bool ok) {
  if (!ok) return Settle();  // `done_` is only owed for calls that arrive
  ++under_way_;
  table_->OnArrived(id_, method_);
  Open();
  Settle();
}

void StreamRpc::Open() {
  const Status admitted = table_->Admit();
  if (!admitted.ok()) return Finish(admitted);
  StreamFactory* factory = table_->environment().registry.FindStream(method_.path());
  if (factory == nullptr) {
    return Finish(Unimplemented("this version does not serve " + method_.path()));
  }
  facade_ = std::make_shared<EdgeStream>(this, CallerOf(context_));
  handler_ = (*factory)(facade_);
  CHECK(handler_ != nullptr) << method_.path();
  MaybeRead();
}

void StreamRpc::MaybeRead() {
  if (!is_reading_wanted_ || is_read_under_way_ || has_read_all_ || is_over()) return;
  is_read_under_way_ = true;
  ++under_way_;
  stream_.Read(&read_buffer_, &read_);
}

void StreamRpc::ReadCompletion::OnPolled(bool ok) {
  if (!ok) return;
  owner_->message_ = Gather(owner_->read_buffer_);
  owner_->read_buffer_.Clear();
}

void StreamRpc::OnRead(bool ok) {
  is_read_under_way_ = false;
  has_read_all_ = !ok;
  Bytes message = std::exchange(message_, {});
  if (!is_over()) {
    if (ok) {
      // The next message is copied while the handler is at this one.
      MaybeRead();
      handler_->OnMessage(std::move(message));
    } else {
      handler_->OnHalfClose();
    }
  }
  Settle();
}

void StreamRpc::SetReading(bool on) {
  is_reading_wanted_ = on;
  if (handler_ != nullptr) MaybeRead();
}

void StreamRpc::Write(std::vector<Bytes> pieces) {
  if (is_over() || is_write_broken_) return;
  const uint64_t bytes = TotalSize(pieces);
  queue_.push_back(
      {.message = Scatter(std::move(pieces)),
       .bytes = bytes,
       .memory = MemoryHold(table_->environment().memory.outgoing, bytes + kQueuedBytes)});
  pending_bytes_ += bytes;
  if (pending_bytes_ > table_->environment().write_high_bytes) was_above_high_mark_ = true;
  MaybeWrite();
}

void StreamRpc::MaybeWrite() {
  if (is_done_ || is_write_under_way_ || is_write_broken_) return;
  if (!queue_.empty()) {
    Queued next = std::move(queue_.front());
    queue_.pop_front();
    written_bytes_ = next.bytes;
    written_memory_ = std::move(next.memory);
    write_began_ = table_->environment().clock.Now();
    is_write_under_way_ = true;
    ++under_way_;
    // With more to come, gRPC may send it all in one go.
    grpc::WriteOptions options;
    if (!queue_.empty()) options.set_buffer_hint();
    return stream_.Write(next.message, options, &write_);
  }
  if (finish_status_.has_value() && !std::exchange(is_finish_sent_, true)) {
    ++under_way_;
    stream_.Finish(ToGrpcStatus(*finish_status_), &finish_);
  }
}

void StreamRpc::OnWritten(bool ok) {
  is_write_under_way_ = false;
  pending_bytes_ -= std::exchange(written_bytes_, 0);
  const MemoryHold written = std::move(written_memory_);
  if (!ok) {
    is_write_broken_ = true;
    DropQueue();
  }
  MaybeWrite();
  const bool is_below_low_mark = pending_bytes_ < table_->environment().write_low_bytes;
  const bool is_writable = (is_below_low_mark && was_above_high_mark_) || pending_bytes_ == 0;
  if (is_below_low_mark) was_above_high_mark_ = false;
  if (is_writable && !is_over()) handler_->OnWritable();
  Settle();
}

void StreamRpc::DropQueue() {
  // Its memory goes last: whoever waits for that may write to this stream.
  const std::deque<Queued> dropped = std::exchange(queue_, {});
  pending_bytes_ = written_bytes_;
}

void StreamRpc::Finish(const Status& status) {
  if (is_over()) return;
  finish_status_ = status;
  MaybeWrite();
}

void StreamRpc::Abort(const Status& status) {
  DropQueue();
  Finish(status);
}

std::optional<Rpc::Stall> StreamRpc::stall() const {
  if (!is_write_under_way_ || is_done_) return std::nullopt;
  return Stall{.since = write_began_, .bytes = pending_bytes_};
}

void StreamRpc::Cut(const Status& status) {
  DropQueue();
  Finish(status);
  // A status behind the write under way would wait for ever; this one goes past it, without
  // details.
  grpc_call_cancel_with_status(context_.c_call(), static_cast<grpc_status_code>(status.code()),
                               std::string(status.message()).c_str(), nullptr);
}

void StreamRpc::OnFinished(bool) { Settle(); }

void StreamRpc::OnDone(bool) {
  is_done_ = true;
  DropQueue();
  if (facade_ != nullptr) facade_->Detach();
  if (handler_ != nullptr) {
    handler_->OnClosed();
    handler_.reset();
  }
  facade_.reset();
  Settle();
}

void StreamRpc::Settle() {
  CHECK_GT(under_way_, 0u);
  if (--under_way_ == 0) table_->Remove(id_);
}

}  // namespace millrace::broker::edge

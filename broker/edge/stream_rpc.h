// One stream as gRPC has it: waits for a client, then carries messages between it and the service's
// StreamHandler. One read and one write are under way at most; what is written meanwhile waits in a
// queue. The Stream that the handler holds may outlive this.
//
//   requested -> open -> (Finish: what is queued is sent, then the status) -> done -> removed
//
// Owned by RpcTable; on the shard's thread.
//
//   auto rpc = std::make_unique<StreamRpc>(table, method, id);
//   rpc->Request();
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include <grpcpp/server_context.h>

#include "broker/edge/completion_loop.h"
#include "broker/edge/raw_service.h"
#include "broker/edge/rpc_table.h"
#include "proto/base/bytes.h"

namespace millrace::broker::edge {

class EdgeStream;

class StreamRpc final : public Rpc {
 public:
  StreamRpc(RpcTable& table, const MethodRef& method, uint64_t id);
  ~StreamRpc() override;

  // Waits for a client. Once.
  void Request();
  void Abort(const Status& status) override;
  std::optional<Stall> stall() const override;
  void Cut(const Status& status) override;

  // For EdgeStream; broker/api/stream.h says what each does.
  void Write(std::vector<Bytes> pieces);
  void SetReading(bool on);
  void Finish(const Status& status);
  uint64_t pending_bytes() const { return pending_bytes_; }

 private:
  void OnArrived(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool ok);
  void OnDone(bool ok);

  void Open();
  void MaybeRead();
  void MaybeWrite();
  void DropQueue();
  // Ends one completion of `under_way_`; destroys this if it was the last.
  void Settle();
  bool is_over() const { return is_done_ || finish_status_.has_value(); }

  // Copies the message on the poller's thread.
  class ReadCompletion final : public CompletionOf<StreamRpc, &StreamRpc::OnRead> {
   public:
    using CompletionOf::CompletionOf;
    void OnPolled(bool ok) override;
  };
  struct Queued {
    grpc::ByteBuffer message;
    uint64_t bytes;
    MemoryHold memory;
  };

  RpcTable* table_;
  MethodRef method_;
  uint64_t id_;
  CompletionOf<StreamRpc, &StreamRpc::OnArrived> arrival_{this};
  ReadCompletion read_{this};
  CompletionOf<StreamRpc, &StreamRpc::OnWritten> write_{this};
  CompletionOf<StreamRpc, &StreamRpc::OnFinished> finish_{this};
  CompletionOf<StreamRpc, &StreamRpc::OnDone> done_{this};
  grpc::ServerContext context_;
  RawStream stream_{&context_};

  // Shared with the handler and whoever it hands it to.
  std::shared_ptr<EdgeStream> facade_;
  std::unique_ptr<StreamHandler> handler_;
  uint32_t under_way_ = 0;  // completions that gRPC still owes
  bool is_done_ = false;

  // Reading. `message_` is the poller's while a read is under way, the shard's otherwise.
  grpc::ByteBuffer read_buffer_;
  Bytes message_;
  bool is_reading_wanted_ = true;
  bool is_read_under_way_ = false;
  bool has_read_all_ = false;

  // Writing.
  std::deque<Queued> queue_;
  uint64_t pending_bytes_ = 0;
  // What the write under way sends.
  uint64_t written_bytes_ = 0;
  MemoryHold written_memory_;
  MonotonicTime write_began_;
  bool is_write_under_way_ = false;
  bool is_write_broken_ = false;
  bool was_above_high_mark_ = false;
  std::optional<Status> finish_status_;
  bool is_finish_sent_ = false;
};

}  // namespace millrace::broker::edge

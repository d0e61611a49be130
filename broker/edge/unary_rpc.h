// One unary call as gRPC has it: waits for a client, hands a Call to the service, sends the answer.
// The Call is the service's and may outlive this; an unanswered Call that the service lets go is
// answered with INTERNAL, so that no client waits for ever.
//
// Owned by RpcTable; on the shard's thread.
//
//   auto rpc = std::make_unique<UnaryRpc>(table, method, id);
//   rpc->Request();
#pragma once

#include <memory>

#include <grpcpp/server_context.h>

#include "broker/edge/completion_loop.h"
#include "broker/edge/raw_service.h"
#include "broker/edge/rpc_table.h"
#include "proto/base/bytes.h"

namespace millrace::broker::edge {

class EdgeCall;

class UnaryRpc final : public Rpc {
 public:
  UnaryRpc(RpcTable& table, const MethodRef& method, uint64_t id);
  ~UnaryRpc() override;

  // Waits for a client. Once.
  void Request();
  void Abort(const Status& status) override;

  // For EdgeCall. Each ends the call, which forgets this.
  void Reply(Bytes response);
  void Fail(const Status& status);

 private:
  void OnArrived(bool ok);
  void OnFinished(bool ok);
  void Dispatch();

  // Copies the request on the poller's thread.
  class Arrival final : public CompletionOf<UnaryRpc, &UnaryRpc::OnArrived> {
   public:
    using CompletionOf::CompletionOf;
    void OnPolled(bool ok) override;
  };

  RpcTable* table_;
  MethodRef method_;
  uint64_t id_;
  Arrival arrival_{this};
  CompletionOf<UnaryRpc, &UnaryRpc::OnFinished> finish_{this};
  grpc::ServerContext context_;
  RawUnary writer_{&context_};
  grpc::ByteBuffer request_buffer_;
  Bytes request_;
  MemoryHold memory_;  // of the request, which the service may keep until it answers
  // The service's; null before it is handed out, and once it is answered or gone.
  EdgeCall* call_ = nullptr;
};

}  // namespace millrace::broker::edge

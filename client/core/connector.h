// How a client reaches brokers: unary calls and streams of whole messages to an address. The seam
// between the client and gRPC (client/grpc/grpc_connector.h); the simulator puts its own brokers
// behind it.
//
// Everything here is called on the client's Executor, handlers too, and handlers never run inside a
// call into this interface.
//
//   connector.Call({.address = "127.0.0.1:7440", .method = "/millrace.v1...", .body = bytes}, done);
//   std::unique_ptr<RpcStream> stream = connector.OpenStream(address, method, handler);
//   stream->Write({init});
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace::client {

struct RpcRequest {
  std::string address;  // HOST:PORT
  std::string method;   // "/millrace.v1.AdminService/CreateTopic"
  Bytes body;
  Duration timeout{};
};

// The serialized response, or why there is none: UNAVAILABLE if the broker cannot be reached,
// DEADLINE_EXCEEDED, or what the broker said, with reason and metadata.
using RpcDone = MoveFunction<void(Result<Bytes>)>;

class RpcStreamHandler {
 public:
  virtual ~RpcStreamHandler() = default;
  // One whole message, contiguous; it may be kept.
  virtual void OnMessage(Bytes message) = 0;
  // The stream has ended, for whatever reason; nothing follows.
  virtual void OnClosed(const Status& status) = 0;
};

// Destroying it cancels the call; its handler hears nothing more. It may be destroyed in its
// handler.
class RpcStream {
 public:
  virtual ~RpcStream() = default;
  // Queues one message made of `pieces`, which are not copied. Never blocks.
  virtual void Write(std::vector<Bytes> pieces) = 0;
};

class Connector {
 public:
  virtual ~Connector() = default;
  virtual void Call(RpcRequest request, RpcDone done) = 0;
  // `handler` outlives the stream.
  virtual std::unique_ptr<RpcStream> OpenStream(const std::string& address,
                                                const std::string& method,
                                                RpcStreamHandler* handler) = 0;
};

}  // namespace millrace::client

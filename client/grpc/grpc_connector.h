// The client's Connector over gRPC: completion queue, raw bytes, a channel per broker, and more of
// them where many calls and streams are under way.
//
// One thread polls the queue; it receives messages and gathers them into contiguous Bytes, and
// posts what happened to the executor, many events with one wake-up. Everything else is the
// executor's. Destroyed on the executor's thread (or when the executor has stopped); it cancels
// what is under way and waits for the poller to end.
//
//   GrpcConnector connector(loop, {});
//   Client client({.executor = loop, .connector = connector, ...}, options);
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "client/core/connector.h"
#include "raft/runtime/executor.h"

namespace millrace::client {

class GrpcConnector final : public Connector {
 public:
  struct Options {
    // Larger messages from a broker end their stream.
    int message_bytes_max = 16 << 20;
    // Between tries to connect to a broker that is away.
    Duration reconnect_backoff_min = std::chrono::milliseconds(100);
    Duration reconnect_backoff_max = std::chrono::milliseconds(500);
    Duration connect_timeout = std::chrono::seconds(1);
    // A broker that does not answer pings is away.
    Duration keepalive_time = std::chrono::seconds(10);
    Duration keepalive_timeout = std::chrono::seconds(5);
  };

  // No broker may be told to take fewer of a connection (--streams-per-connection-max).
  static constexpr size_t kCallsPerConnectionMax = 100;

  GrpcConnector(Executor& executor, const Options& options);
  ~GrpcConnector() override;

  void Call(RpcRequest request, RpcDone done) override;
  std::unique_ptr<RpcStream> OpenStream(const std::string& address, const std::string& method,
                                        RpcStreamHandler* handler) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::client

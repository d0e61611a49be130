// The gRPC server in front of the services: takes calls of the public API off the wire and hands
// them to the registry's handlers on the shard's thread (broker/api). With it come
// reflection and grpc.health.v1, which answers for "" and for each service.
//
// Owned by main.cc; used on the shard's thread, or by whoever wires while the shard does not run.
// Knows no message and decides nothing: what a request means is the services' affair.
//
//   GrpcEdge edge({.listen = config.listen}, shard, clock,
//                 {.registry = node.registry(), .memory = node.client_memory()});
//   Result<Endpoint> bound = edge.Start();
//   node.OnceReady([&] { edge.SetServing(true); });
//   ...
//   edge.Stop();
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "broker/api/client_memory.h"
#include "broker/api/service_registry.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/network.h"

namespace millrace::broker::edge {

class GrpcEdge {
 public:
  struct Options {
    Endpoint listen;  // port 0: any free one
    // Largest message received; a call with a larger one ends with RESOURCE_EXHAUSTED.
    uint64_t message_bytes_max = 4 << 20;
    // Further ones wait in the client, which is not told: those that have more open another
    // connection.
    uint64_t streams_per_connection_max = 1'000;
    // Further ones are closed at once. Each takes two file descriptors.
    uint64_t connections_max = 1'000;
    // Connections of one address outside loopback (broker/edge/address_limits.h).
    uint64_t connections_per_address_max = 250;
    // Streams of all connections together; further ones are refused. An idle one takes 16 KiB.
    uint64_t streams_max = 20'000;
    // Whether tools may ask what is served (grpc.reflection, v1 and v1alpha).
    bool has_reflection = true;
    // gRPC's own buffers, of all connections together.
    uint64_t memory_bytes_max = 256 << 20;
    // A stream's handler that wrote more than `high` hears OnWritable below `low`.
    uint64_t write_high_bytes = 1 << 20;
    uint64_t write_low_bytes = 512 << 10;
    // A connection that has not finished the HTTP/2 handshake by then is closed.
    std::chrono::milliseconds handshake_time_max = std::chrono::seconds(10);
    // A connection that has been silent this long is asked, and closed without an answer.
    std::chrono::milliseconds keepalive_interval = std::chrono::seconds(30);
    std::chrono::milliseconds keepalive_answer_max = std::chrono::seconds(10);
    // A client that took no byte for so long is cut off, if others wait for the memory it holds.
    std::chrono::milliseconds stall_time_max = std::chrono::seconds(2);
    // How long Stop waits for clients to take their last message before it cuts them off.
    std::chrono::milliseconds stop_time_max = std::chrono::milliseconds(500);
  };

  // What services have besides: where they find calls, and what clients may make them hold.
  struct Services {
    ServiceRegistry& registry;
    ClientMemory& memory;
  };

  GrpcEdge(const Options& options, Executor& shard, const Clock& clock, const Services& services);
  // Stops.
  ~GrpcEdge();
  GrpcEdge(const GrpcEdge&) = delete;
  GrpcEdge& operator=(const GrpcEdge&) = delete;

  // Listens and serves; the address that it listens on. UNAVAILABLE naming the address and why, if
  // it cannot. Health answers NOT_SERVING until SetServing(true). Once.
  Result<Endpoint> Start();

  // What health checks are told.
  void SetServing(bool is_serving);

  // Ends every call with UNAVAILABLE and closes all connections. Handlers hear OnClosed within;
  // nothing is called after. Blocks for at most about Options::stop_time_max. Not from within a
  // handler.
  void Stop();

  // Calls and streams that are open, for tests and diagnostics.
  size_t open_count() const;

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace millrace::broker::edge

// The calls and streams that the edge has open, and the vacant ones that wait for a client. It owns
// them; they tell it when a client has come and when all their gRPC operations are over.
//
// Owned by GrpcEdge; on the shard's thread.
//
//   table.Serve({&service, 0});
//   table.Abort(Unavailable("the broker is stopping"));
//   ... completions are handled until table.empty() ...
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include <grpcpp/server_builder.h>

#include "broker/api/client_memory.h"
#include "broker/api/service_registry.h"
#include "broker/edge/raw_service.h"
#include "raft/runtime/clock.h"

namespace millrace::broker::edge {

// One call or stream. Destroyed by the table, never while gRPC still has one of its completions.
class Rpc {
 public:
  virtual ~Rpc() = default;
  // Ends it with `status` as soon as gRPC allows, leaving out what is queued. Pre: a client has
  // come.
  virtual void Abort(const Status& status) = 0;
  // When the write under way began, with what is queued behind it; none if none is under way.
  struct Stall {
    MonotonicTime since;
    uint64_t bytes;
  };
  virtual std::optional<Stall> stall() const { return std::nullopt; }
  // Ends it at once, though the client takes no byte; whatever is held for it is given back.
  virtual void Cut([[maybe_unused]] const Status& status) {}
};

class RpcTable {
 public:
  struct Environment {
    grpc::ServerCompletionQueue* queue;
    const Clock& clock;
    ServiceRegistry& registry;
    ClientMemory& memory;
    // Calls and streams open at once; further ones are refused.
    uint64_t streams_max;
    // Marks for StreamHandler::OnWritable.
    uint64_t write_high_bytes;
    uint64_t write_low_bytes;
  };

  explicit RpcTable(const Environment& environment) : environment_(environment) {}

  const Environment& environment() const { return environment_; }

  // Waits for one client of `method`, and, each time one comes, for the next.
  void Serve(const MethodRef& method);
  // Ends all that are open and waits for no others.
  void Abort(const Status& status);
  bool is_aborted() const { return is_aborted_; }
  // RESOURCE_EXHAUSTED if more are open than may be, UNAVAILABLE once aborted. For Rpcs that have
  // arrived.
  Status Admit() const;
  // Where others wait for memory: cuts clients that took nothing for `stall_time_max`, or less if
  // many wait; those that hold most first, and no more than there are waiters.
  void CutStalled(Duration stall_time_max);

  // For Rpcs: a client has come; then nothing remains (destroys the Rpc).
  void OnArrived(uint64_t id, const MethodRef& method);
  void Remove(uint64_t id);

  // None is open; vacant ones may wait.
  bool is_idle() const { return open_.empty(); }
  bool empty() const { return open_.empty() && vacant_.empty(); }
  size_t open_count() const { return open_.size(); }

 private:
  Environment environment_;
  bool is_aborted_ = false;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Rpc>> vacant_;
  std::map<uint64_t, std::unique_ptr<Rpc>> open_;
};

}  // namespace millrace::broker::edge

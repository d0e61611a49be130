// What the public services see of the outside: a Call (one request, one reply) and a Stream
// (messages both ways). broker/edge puts gRPC behind it, the simulator a modelled link; services
// know neither.
//
// Everything here is called on the shard's thread. A handler gets the Call or Stream as a shared
// pointer and may keep it: replying after the client has gone is allowed and does nothing.
//
//   registry.AddCall("/millrace.v1.AdminService/CreateTopic",
//                    [this](std::shared_ptr<Call> call) { ... call->Reply(bytes); });
//   registry.AddStream("/millrace.v1.ProducerService/Produce",
//                      [this](std::shared_ptr<Stream> stream) { return handler; });
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// Who asks. Anonymous until authentication comes; every handler gets one from the start.
struct Principal {
  std::string name = "anonymous";
  std::string peer_address;
};

// A unary call.
class Call {
 public:
  virtual ~Call() = default;
  virtual const Principal& principal() const = 0;
  // The serialized request, contiguous.
  virtual const Bytes& request() const = 0;
  // When the client stops waiting; the maximum if it gave no deadline.
  virtual MonotonicTime deadline() const = 0;
  // Exactly one of these, once.
  virtual void Reply(Bytes response) = 0;
  virtual void Fail(const Status& status) = 0;
};

// What a service does with a stream; owned by the edge, destroyed after OnClosed. A method that
// streams its answers alone is one too: an honest client sends one message and half-closes.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  // One whole message, contiguous. `message` may be kept without copying.
  virtual void OnMessage(Bytes message) = 0;
  // The client will send no more; answers may still follow.
  virtual void OnHalfClose() = 0;
  // pending_bytes() fell below the low mark after it had been above the high one, or to nothing.
  virtual void OnWritable() = 0;
  // The client is gone or Finish() completed; nothing follows.
  virtual void OnClosed() = 0;
};

class Stream {
 public:
  virtual ~Stream() = default;
  virtual const Principal& principal() const = 0;
  // Queues one message made of `pieces`, which are not copied. Never blocks; the caller minds
  // pending_bytes().
  virtual void Write(std::vector<Bytes> pieces) = 0;
  // Bytes queued and not yet taken by the transport.
  virtual uint64_t pending_bytes() const = 0;
  // Backpressure: no further OnMessage (but for one that is under way) until resumed.
  virtual void SetReading(bool on) = 0;
  // Ends the stream after what was queued; OnClosed follows.
  virtual void Finish(const Status& status) = 0;
};

using CallHandler = MoveFunction<void(std::shared_ptr<Call>)>;
// The stream outlives its handler; a handler keeps it as a shared pointer.
using StreamFactory = MoveFunction<std::unique_ptr<StreamHandler>(std::shared_ptr<Stream>)>;

// Methods by full path, e.g. "/millrace.v1.ProducerService/Produce". Filled before serving.
class ServiceRegistry {
 public:
  void AddCall(std::string method, CallHandler handler) {
    calls_.emplace(std::move(method), std::move(handler));
  }
  void AddStream(std::string method, StreamFactory factory) {
    streams_.emplace(std::move(method), std::move(factory));
  }
  // Null if there is no such method.
  CallHandler* FindCall(std::string_view method) { return Find(calls_, method); }
  StreamFactory* FindStream(std::string_view method) { return Find(streams_, method); }

 private:
  template <typename Map>
  static typename Map::mapped_type* Find(Map& map, std::string_view method) {
    auto found = map.find(method);
    return found == map.end() ? nullptr : &found->second;
  }
  std::map<std::string, CallHandler, std::less<>> calls_;
  std::map<std::string, StreamFactory, std::less<>> streams_;
};

}  // namespace millrace::broker

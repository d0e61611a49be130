// A stream as services see it: messages both ways. broker/edge puts gRPC behind it, the simulator a
// modelled link; services know neither.
//
// Everything here is called on the shard's thread. The stream outlives its handler, which keeps it
// as a shared pointer.
//
//   registry.AddStream("/millrace.v1.ProducerService/Produce",
//                      [this](std::shared_ptr<Stream> stream) { return handler; });
#pragma once

#include <cstdint>
#include <vector>

#include "broker/api/principal.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

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

}  // namespace millrace::broker

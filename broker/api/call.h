// A unary call as services see it: one request, one reply. broker/edge puts gRPC behind it, the
// simulator a modelled link; services know neither.
//
// Everything here is called on the shard's thread. A handler gets the Call as a shared pointer and
// may keep it: replying after the client has gone is allowed and does nothing.
//
//   registry.AddCall("/millrace.v1.AdminService/CreateTopic",
//                    [this](std::shared_ptr<Call> call) { ... call->Reply(bytes); });
#pragma once

#include <algorithm>

#include "broker/api/principal.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

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

// How long what is done for `call` may take, `time_max` at most: less than its client waits by a
// tenth, so that what others answered meanwhile still reaches it.
inline Duration TimeFor(const Clock& clock, const Call& call, Duration time_max) {
  const Duration left = TimeLeft(clock, call.deadline());
  return std::min(time_max, left - left / 10);
}

}  // namespace millrace::broker

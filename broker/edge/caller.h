// Who calls, and until when, as gRPC says it.
//
// Pure but for gRPC's clock; any thread.
//
//   Principal principal = CallerOf(context);
#pragma once

#include <grpcpp/server_context.h>

#include "broker/api/principal.h"
#include "raft/runtime/clock.h"

namespace millrace::broker::edge {

// Pre: the call has arrived.
Principal CallerOf(const grpc::ServerContext& context);
// On the scale of `clock`; MonotonicTime::max() without a deadline.
MonotonicTime DeadlineOf(const grpc::ServerContext& context, const Clock& clock);

}  // namespace millrace::broker::edge

// The one place where a Status becomes a gRPC status: the canonical code as it is, and a
// google.rpc.Status in the `grpc-status-details-bin` trailer with ErrorInfo and, where a retry
// helps, RetryInfo. docs/errors.md lists codes and reasons.
//
// Pure; any thread.
//
//   writer.FinishWithError(ToGrpcStatus(status), tag);
#pragma once

#include <grpcpp/support/status.h>

#include "proto/base/status.h"

namespace millrace::broker::edge {

grpc::Status ToGrpcStatus(const Status& status);

}  // namespace millrace::broker::edge

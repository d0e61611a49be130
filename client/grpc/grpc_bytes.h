// Between our Bytes and gRPC's ByteBuffer and Status. For this folder alone.
//
// Pure; any thread.
#pragma once

#include <vector>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include "client/core/transport_error.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::client {

// One message of `pieces`: the large ones are shared, not copied.
grpc::ByteBuffer ToByteBuffer(const std::vector<Bytes>& pieces);

// A contiguous copy of the message; the one copy between the socket and whoever keeps the payload.
Bytes ToBytes(const grpc::ByteBuffer& buffer);

// With reason, metadata and retry delay from the trailer; a broker always sends one. Without, the
// error is gRPC's own, about `target`.
Status ToStatus(const grpc::Status& status, const RpcTarget& target);

}  // namespace millrace::client

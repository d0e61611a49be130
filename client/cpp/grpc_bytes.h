// Between our Bytes and gRPC's ByteBuffer and Status. For client/cpp's gRPC files alone.
//
// Pure; any thread.
#pragma once

#include <vector>

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::client {

// One message of `pieces`: the large ones are shared, not copied.
grpc::ByteBuffer ToByteBuffer(const std::vector<Bytes>& pieces);

// A contiguous copy of the message; the one copy between the socket and whoever keeps the payload.
Bytes ToBytes(const grpc::ByteBuffer& buffer);

// With reason, metadata and retry delay from the trailer, if they are there.
Status ToStatus(const grpc::Status& status);

}  // namespace millrace::client

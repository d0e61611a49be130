// Messages across the border: gRPC's slices on one side, Bytes on the other.
//
// Pure; any thread.
//
//   Bytes message = Gather(read_buffer);
//   grpc::ByteBuffer out = Scatter({header, payload});
#pragma once

#include <vector>

#include <grpcpp/support/byte_buffer.h>

#include "proto/base/bytes.h"

namespace millrace::broker::edge {

// The whole message in aligned memory of its own: the first of a payload's two copies (design D2).
// Keeping gRPC's slices instead would pin a MiB of read buffer for a message of 200 bytes.
Bytes Gather(const grpc::ByteBuffer& buffer);

// One message made of `pieces`. Large ones are held, not copied, until gRPC is done with them;
// small neighbours are copied together, which is cheaper than a slice each.
grpc::ByteBuffer Scatter(std::vector<Bytes> pieces);

}  // namespace millrace::broker::edge

// Whether a port can be listened on, asked before gRPC tries it: gRPC says only that it could not,
// and takes half of the addresses of a name for success.
//
// Asks the operating system, by trying; any thread.
//
//   RETURN_IF_ERROR(CheckListen(options.listen));
#pragma once

#include "proto/base/status.h"
#include "raft/runtime/network.h"

namespace millrace::broker::edge {

// UNAVAILABLE naming the address and why, if one of the host's addresses is in use or forbidden, or
// if none can be had.
Status CheckListen(const Endpoint& endpoint);

}  // namespace millrace::broker::edge

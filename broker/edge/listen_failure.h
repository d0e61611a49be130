// Why a listener could not be opened. gRPC says only that it could not.
//
// Asks the operating system, by trying the same without gRPC; any thread.
//
//   return Unavailable("cannot listen on " + listen.ToString() + ": " + WhyListenFails(listen));
#pragma once

#include <string>

#include "raft/runtime/network.h"

namespace millrace::broker::edge {

// "Address already in use" and the like.
std::string WhyListenFails(const Endpoint& endpoint);

}  // namespace millrace::broker::edge

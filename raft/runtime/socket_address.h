// The operating system's socket addresses, from and to Endpoints.
//
// Pure but for ResolveBlocking; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <sys/socket.h>

#include "proto/base/status.h"
#include "raft/runtime/network.h"

namespace millrace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  Endpoint ToEndpoint() const;
};

// The address if `endpoint` names one in numbers, or is localhost (127.0.0.1); nullopt for other
// names.
std::optional<SocketAddress> NumericAddress(const Endpoint& endpoint);

// All addresses of the endpoint, asking the system's resolver, which may take seconds. UNAVAILABLE
// naming the host if there is none.
Result<std::vector<SocketAddress>> ResolveBlocking(const Endpoint& endpoint);

}  // namespace millrace

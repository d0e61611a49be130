// The sockets that clients connect to, made here and not by gRPC: it says only that it could not,
// takes half of the addresses of a name for success, and bounds no number of connections.
//
// Owned by ConnectionAcceptor; any one thread.
//
//   ASSIGN_OR_RETURN(ListenSockets sockets, ListenSockets::Open(options.listen));
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "proto/base/status.h"
#include "raft/runtime/network.h"

namespace millrace::broker::edge {

class ListenSockets {
 public:
  // Listens on every address that the name has on this machine. Port 0: any free one, the same for
  // all. UNAVAILABLE naming the address and why, if one of the addresses is in use or forbidden, or
  // if none can be had.
  static Result<ListenSockets> Open(const Endpoint& endpoint);
  // Takes the addresses, with the same errors, without answering anybody there yet: whoever listens
  // later in this process does so beside the claim.
  static Result<ListenSockets> Claim(const Endpoint& endpoint);

  ListenSockets() = default;
  ~ListenSockets() { Close(); }
  ListenSockets(ListenSockets&& other) noexcept
      : fds_(std::exchange(other.fds_, {})), port_(other.port_) {}
  ListenSockets& operator=(ListenSockets&& other) noexcept {
    Close();
    fds_ = std::exchange(other.fds_, {});
    port_ = other.port_;
    return *this;
  }

  const std::vector<int>& fds() const { return fds_; }
  uint16_t port() const { return port_; }
  void Close();

 private:
  static Result<ListenSockets> Bind(const Endpoint& endpoint, bool is_listening);

  std::vector<int> fds_;
  uint16_t port_ = 0;
};

}  // namespace millrace::broker::edge

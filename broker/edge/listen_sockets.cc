#include "broker/edge/listen_sockets.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <glog/logging.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::broker::edge {
namespace {

Status CannotListen(const Endpoint& endpoint, const std::string& why) {
  return Unavailable("cannot listen on " + endpoint.ToString() + ": " + why);
}

// A bound socket, or minus the error number.
int BindTo(const addrinfo& address, bool is_listening) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
                        address.ai_protocol);
  if (fd < 0) return -errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // Each family has its own socket.
  if (address.ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 &&
      (!is_listening || listen(fd, SOMAXCONN) == 0)) {
    return fd;
  }
  const int error = errno;
  close(fd);
  return -error;
}

// An address that this machine does not have, e.g. ::1 without IPv6, leaves the others of the name.
bool IsAbsent(int error) { return error == EADDRNOTAVAIL || error == EAFNOSUPPORT; }

uint16_t PortOf(int fd) {
  sockaddr_storage storage{};
  socklen_t size = sizeof(storage);
  sockaddr plain{};
  CHECK_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size), 0);
  std::memcpy(&plain, &storage, sizeof(plain));
  uint16_t port = 0;
  // The port is the first thing behind the family in both.
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  std::memcpy(&port, plain.sa_data, sizeof(port));
  return ntohs(port);
}

}  // namespace

Result<ListenSockets> ListenSockets::Open(const Endpoint& endpoint) {
  return Bind(endpoint, /*is_listening=*/true);
}

Result<ListenSockets> ListenSockets::Claim(const Endpoint& endpoint) {
  return Bind(endpoint, /*is_listening=*/false);
}

Result<ListenSockets> ListenSockets::Bind(const Endpoint& endpoint, bool is_listening) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(endpoint, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  ListenSockets sockets;
  sockets.port_ = endpoint.port;
  int absent = EADDRNOTAVAIL;
  for (addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const uint16_t port = htons(sockets.port_);
    std::memcpy(address->ai_addr->sa_data, &port, sizeof(port));
    const int fd = BindTo(*address, is_listening);
    if (fd >= 0) {
      sockets.fds_.push_back(fd);
      sockets.port_ = PortOf(fd);
    } else if (IsAbsent(-fd)) {
      absent = -fd;
    } else {
      return CannotListen(endpoint, std::strerror(-fd));
    }
  }
  if (sockets.fds_.empty()) return CannotListen(endpoint, std::strerror(absent));
  return sockets;
}

void ListenSockets::Close() {
  for (const int fd : fds_) close(fd);
  fds_.clear();
}

}  // namespace millrace::broker::edge

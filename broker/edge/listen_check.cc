#include "broker/edge/listen_check.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::broker::edge {
namespace {

Status CannotListen(const Endpoint& endpoint, const std::string& why) {
  return Unavailable("cannot listen on " + endpoint.ToString() + ": " + why);
}

// The error number of binding and listening there; 0 if it works.
int TryListen(const addrinfo& address) {
  const int fd = socket(address.ai_family, address.ai_socktype | SOCK_CLOEXEC, address.ai_protocol);
  if (fd < 0) return errno;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = 0;
  if (bind(fd, address.ai_addr, address.ai_addrlen) != 0 || listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

// An address that this machine does not have, e.g. ::1 without IPv6, leaves the others of the name.
bool IsAbsent(int error) { return error == EADDRNOTAVAIL || error == EAFNOSUPPORT; }

}  // namespace

Status CheckListen(const Endpoint& endpoint) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int error =
      getaddrinfo(endpoint.host.c_str(), std::to_string(endpoint.port).c_str(), &hints, &found);
  if (error != 0) return CannotListen(endpoint, gai_strerror(error));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, freeaddrinfo);
  int absent = EADDRNOTAVAIL;
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    const int listen_error = TryListen(*address);
    if (listen_error == 0) {
      absent = 0;
    } else if (!IsAbsent(listen_error)) {
      return CannotListen(endpoint, std::strerror(listen_error));
    }
  }
  return absent == 0 ? Status::Ok() : CannotListen(endpoint, std::strerror(absent));
}

}  // namespace millrace::broker::edge

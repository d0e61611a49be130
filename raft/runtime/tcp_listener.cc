#include "raft/runtime/tcp_listener.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raft/runtime/tcp_connection.h"

namespace millrace {
namespace {

constexpr int kBacklog = 512;
constexpr int kAcceptsAtOnce = 64;
constexpr Duration kPause = std::chrono::milliseconds(100);

Status ListenError(const Endpoint& endpoint) {
  return Unavailable("listen on " + endpoint.ToString() + ": " + std::strerror(errno));
}

Result<int> OpenSocket(const Endpoint& endpoint, const SocketAddress& address) {
  const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return ListenError(endpoint);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, address.get(), address.size) == 0 && listen(fd, kBacklog) == 0) return fd;
  const Status error = ListenError(endpoint);
  close(fd);
  return error;
}

}  // namespace

Result<std::unique_ptr<Listener>> TcpListener::Open(EventLoop& loop, const Endpoint& endpoint,
                                                    const SocketAddress& address,
                                                    Network::AcceptHandler on_accept) {
  ASSIGN_OR_RETURN(const int fd, OpenSocket(endpoint, address));
  SocketAddress bound;
  bound.size = sizeof(bound.storage);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size);
  Endpoint real{endpoint.host, bound.ToEndpoint().port};
  return std::unique_ptr<Listener>(
      std::make_unique<TcpListener>(loop, fd, std::move(real), std::move(on_accept)));
}

TcpListener::TcpListener(EventLoop& loop, int fd, Endpoint endpoint,
                         Network::AcceptHandler on_accept)
    : loop_(&loop),
      fd_(fd),
      source_(loop.Register(fd, EPOLLIN, this)),
      endpoint_(std::move(endpoint)),
      on_accept_(std::make_shared<Network::AcceptHandler>(std::move(on_accept))) {}

TcpListener::~TcpListener() {
  loop_->Cancel(resume_);
  loop_->Unregister(source_, fd_);
  close(fd_);
}

void TcpListener::OnEvents(uint32_t) {
  EventLoop& loop = *loop_;
  const SourceId source = source_;
  const std::shared_ptr<Network::AcceptHandler> on_accept = on_accept_;
  for (int left = kAcceptsAtOnce; left > 0 && loop.IsRegistered(source); --left) {
    SocketAddress peer;
    peer.size = sizeof(peer.storage);
    auto* address = reinterpret_cast<sockaddr*>(&peer.storage);
    const int fd = accept4(fd_, address, &peer.size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      (*on_accept)(std::make_unique<TcpConnection>(loop, fd, peer.ToEndpoint().ToString()));
      continue;
    }
    if (errno == EAGAIN) return;
    // That connection broke while it waited; the next one is not affected.
    if (errno == ECONNABORTED || errno == EINTR || errno == EPROTO) continue;
    return Pause();
  }
}

void TcpListener::Pause() {
  PLOG(WARNING) << "cannot accept connections, trying again soon endpoint=" << endpoint_.ToString();
  loop_->SetEvents(source_, fd_, 0);
  resume_ = loop_->RunAfter(kPause, [this] { loop_->SetEvents(source_, fd_, EPOLLIN); });
}

}  // namespace millrace

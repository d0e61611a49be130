#include "broker/edge/connection_acceptor.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <glog/logging.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::broker::edge {
namespace {

// How long nobody is accepted after the system had no descriptor or memory for one more.
constexpr int kPauseMs = 100;
// Accepted in a row, before hang-ups are looked at again.
constexpr int kAcceptedAtOnce = 64;

void Watch(int epoll, int operation, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  CHECK_EQ(epoll_ctl(epoll, operation, fd, &event), 0) << std::strerror(errno);
}

// What leaves the listening socket as it was: the connection is gone already, or a signal came.
bool IsPassing(int error) {
  return error == EINTR || error == ECONNABORTED || error == EPROTO || error == EPERM;
}

int AcceptFrom(int listen_fd, sockaddr_storage* peer, socklen_t* size) {
  return accept4(listen_fd, reinterpret_cast<sockaddr*>(peer), size, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(ListenSockets sockets, const Limits& limits,
                                       const Clock& clock, HandOver hand_over)
    : sockets_(std::move(sockets)),
      connections_max_(limits.connections_max),
      clock_(clock),
      hand_over_(std::move(hand_over)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      address_limits_(limits.per_address) {
  CHECK_GE(epoll_, 0) << std::strerror(errno);
  CHECK_GE(wake_, 0) << std::strerror(errno);
}

ConnectionAcceptor::~ConnectionAcceptor() {
  Stop();
  close(wake_);
  close(epoll_);
}

void ConnectionAcceptor::Start() {
  Watch(epoll_, EPOLL_CTL_ADD, wake_, EPOLLIN);
  for (const int fd : sockets_.fds()) Watch(epoll_, EPOLL_CTL_ADD, fd, EPOLLIN);
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "grpc-acceptor");
    Run();
  });
}

void ConnectionAcceptor::Stop() {
  if (thread_.joinable()) {
    const uint64_t one = 1;
    CHECK_EQ(write(wake_, &one, sizeof(one)), static_cast<ssize_t>(sizeof(one)));
    thread_.join();
  }
  for (const auto& [fd, address] : std::exchange(watched_, {})) close(fd);
  sockets_.Close();
  connection_count_ = 0;
}

void ConnectionAcceptor::Run() {
  std::array<epoll_event, 256> events;
  while (true) {
    const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                 is_listening_ ? -1 : kPauseMs);
    CHECK(count >= 0 || errno == EINTR) << std::strerror(errno);
    // Those that hung up make room for those that come.
    for (int i = 0; i < count; ++i) {
      if (watched_.contains(events[static_cast<size_t>(i)].data.fd)) {
        OnHangUp(events[static_cast<size_t>(i)].data.fd);
      }
    }
    if (!is_listening_) ListenAgain(true);
    for (int i = 0; i < count; ++i) {
      const int fd = events[static_cast<size_t>(i)].data.fd;
      if (fd == wake_) return;
      const auto& listening = sockets_.fds();
      if (std::find(listening.begin(), listening.end(), fd) != listening.end()) Accept(fd);
    }
  }
}

void ConnectionAcceptor::Accept(int listen_fd) {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    sockaddr_storage peer{};
    socklen_t size = sizeof(peer);
    const int fd = AcceptFrom(listen_fd, &peer, &size);
    if (fd >= 0) {
      Take(listen_fd, fd, ClientAddress::Of(peer));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    } else if (!IsPassing(errno)) {
      LOG_EVERY_T(WARNING, 10) << "cannot accept a connection why=" << std::strerror(errno);
      return ListenAgain(false);
    }
  }
}

void ConnectionAcceptor::Take(int listen_fd, int fd, const ClientAddress& address) {
  if (!MayTake(address)) {
    close(fd);
    return;
  }
  const int watched = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (watched < 0) {
    LOG_EVERY_T(WARNING, 10) << "cannot take a connection why=" << std::strerror(errno);
    address_limits_.Leave(address);
    close(fd);
    return ListenAgain(false);
  }
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  // Hang-ups and errors are reported without being asked for.
  Watch(epoll_, EPOLL_CTL_ADD, watched, 0);
  watched_.emplace(watched, address);
  connection_count_ = watched_.size();
  hand_over_(listen_fd, fd);
}

bool ConnectionAcceptor::MayTake(const ClientAddress& address) {
  if (watched_.size() >= connections_max_) {
    LOG_EVERY_T(WARNING, 10) << "refusing connections, there are as many as may be count="
                             << watched_.size();
    return false;
  }
  const AddressLimits::Verdict verdict = address_limits_.Admit(address, clock_.Now());
  if (verdict == AddressLimits::Verdict::kAdmitted) return true;
  const bool is_too_fast = verdict == AddressLimits::Verdict::kTooFast;
  LOG_EVERY_T(WARNING, 10) << "refusing connections why="
                           << (is_too_fast ? "too many come a second"
                                           : "one address has as many as it may");
  return false;
}

void ConnectionAcceptor::OnHangUp(int watched) {
  Watch(epoll_, EPOLL_CTL_DEL, watched, 0);
  close(watched);
  auto gone = watched_.extract(watched);
  CHECK(!gone.empty());
  address_limits_.Leave(gone.mapped());
  connection_count_ = watched_.size();
}

void ConnectionAcceptor::ListenAgain(bool on) {
  is_listening_ = on;
  const uint32_t events = on ? static_cast<uint32_t>(EPOLLIN) : 0u;
  for (const int fd : sockets_.fds()) Watch(epoll_, EPOLL_CTL_MOD, fd, events);
}

}  // namespace millrace::broker::edge

#include "raft/runtime/tcp_network.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <glog/logging.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "raft/runtime/tcp_connection.h"
#include "raft/runtime/tcp_listener.h"

namespace millrace {

// One connect: its addresses are tried in order until one answers or the time is over.
class TcpNetwork::Attempt final : public EventSource {
 public:
  Attempt(TcpNetwork& network, uint64_t id, Endpoint endpoint, ConnectHandler done)
      : network_(&network), id_(id), endpoint_(std::move(endpoint)), done_(std::move(done)) {}
  ~Attempt() override {
    network_->loop_->Cancel(timeout_);
    CloseSocket();
  }
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  void SetTimeout(TimerId timeout) { timeout_ = timeout; }
  const Endpoint& endpoint() const { return endpoint_; }
  ConnectHandler TakeHandler() { return std::move(done_); }

  void Start(std::vector<SocketAddress> addresses) {
    addresses_ = std::move(addresses);
    TryNext(Unavailable("no address"));
  }

  void OnEvents(uint32_t) override {
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return TryNext(Failure(error));
    network_->loop_->Unregister(source_, fd_);
    auto connection = std::make_unique<TcpConnection>(*network_->loop_, std::exchange(fd_, -1),
                                                      endpoint_.ToString());
    network_->Finish(id_, std::unique_ptr<Connection>(std::move(connection)));
  }

 private:
  Status Failure(int error) const {
    return Unavailable("connect to " + endpoint_.ToString() + ": " + std::strerror(error));
  }

  void TryNext(Status last) {
    CloseSocket();
    while (next_ < addresses_.size()) {
      const SocketAddress& address = addresses_[next_++];
      fd_ = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      if (fd_ < 0) {
        last = Failure(errno);
        continue;
      }
      if (connect(fd_, address.get(), address.size) != 0 && errno != EINPROGRESS) {
        last = Failure(errno);
        close(std::exchange(fd_, -1));
        continue;
      }
      source_ = network_->loop_->Register(fd_, EPOLLOUT, this);
      return;
    }
    network_->Finish(id_, std::move(last));
  }

  void CloseSocket() {
    if (fd_ < 0) return;
    network_->loop_->Unregister(source_, fd_);
    close(std::exchange(fd_, -1));
  }

  TcpNetwork* network_;
  uint64_t id_;
  Endpoint endpoint_;
  ConnectHandler done_;
  TimerId timeout_;
  std::vector<SocketAddress> addresses_;
  size_t next_ = 0;
  int fd_ = -1;
  SourceId source_;
};

TcpNetwork::TcpNetwork(EventLoop& loop) : loop_(&loop), resolver_(loop) {}

TcpNetwork::~TcpNetwork() {
  // Moved out first: what a handler owns may reach for the network when it goes.
  const auto attempts = std::exchange(attempts_, {});
}

Result<std::unique_ptr<Listener>> TcpNetwork::Listen(const Endpoint& endpoint,
                                                     AcceptHandler on_accept) {
  ASSIGN_OR_RETURN(const std::vector<SocketAddress> addresses, ResolveBlocking(endpoint));
  return TcpListener::Open(*loop_, endpoint, addresses.front(), std::move(on_accept));
}

void TcpNetwork::Connect(const Endpoint& endpoint, Duration timeout, ConnectHandler done) {
  DCHECK(loop_->IsOwnerThread());
  const uint64_t id = next_attempt_++;
  auto attempt = std::make_unique<Attempt>(*this, id, endpoint, std::move(done));
  attempt->SetTimeout(loop_->RunAfter(timeout, [this, id, endpoint] {
    Finish(id, DeadlineExceeded("connect to " + endpoint.ToString() + ": timed out"));
  }));
  attempts_.emplace(id, std::move(attempt));
  auto on_resolved = lifetime_.Guard([this, id](Result<std::vector<SocketAddress>> addresses) {
    OnResolved(id, std::move(addresses));
  });
  if (const auto numeric = NumericAddress(endpoint)) {
    // Posted, because a connect that fails at once must not call back from within this call.
    loop_->Post(
        [on_resolved = std::move(on_resolved), addresses = std::vector{*numeric}]() mutable {
          on_resolved(std::move(addresses));
        });
  } else {
    resolver_.Resolve(endpoint, std::move(on_resolved));
  }
}

void TcpNetwork::OnResolved(uint64_t id, Result<std::vector<SocketAddress>> addresses) {
  const auto attempt = attempts_.find(id);
  if (attempt == attempts_.end()) return;  // Timed out meanwhile.
  if (!addresses.ok()) return Finish(id, addresses.status());
  attempt->second->Start(std::move(addresses).value());
}

void TcpNetwork::Finish(uint64_t id, Result<std::unique_ptr<Connection>> outcome) {
  auto attempt = attempts_.extract(id);
  CHECK(!attempt.empty());
  ConnectHandler done = attempt.mapped()->TakeHandler();
  attempt.mapped().reset();
  done(std::move(outcome));
}

}  // namespace millrace

#include "broker/edge/connection_acceptor.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

namespace millrace::broker::edge {
namespace {

// Time that stands still: what may come a second does not depend on how slow this machine is.
class StoppedClock final : public Clock {
 public:
  MonotonicTime Now() const override { return std::chrono::seconds(1); }
  int64_t WallMs() const override { return 0; }
};

// Closes what it is handed when it is destroyed, as gRPC would sooner or later.
class Held {
 public:
  ~Held() {
    for (const int fd : fds_) close(fd);
  }
  void Take(int fd) {
    const std::lock_guard<std::mutex> lock(mu_);
    fds_.insert(fd);
  }

 private:
  std::mutex mu_;
  std::set<int> fds_;  // guarded by mu_
};

class Client {
 public:
  Client(const char* host, uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in own{};
    own.sin_family = AF_INET;
    inet_pton(AF_INET, host, &own.sin_addr);
    CHECK_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof(own)), 0);
    sockaddr_in server{};
    server.sin_family = AF_INET;
    server.sin_port = htons(port);
    inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
    CHECK_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&server), sizeof(server)), 0);
  }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Client() {
    if (fd_ >= 0) close(fd_);
  }
  // Whether the server ends the connection in time.
  bool WaitForClose() const {
    pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
    char byte;
    return poll(&poll_fd, 1, 20'000) == 1 && recv(fd_, &byte, 1, 0) <= 0;
  }

 private:
  int fd_;
};

class ConnectionAcceptorTest : public ::testing::Test {
 protected:
  void Start(const ConnectionAcceptor::Limits& limits) {
    Result<ListenSockets> sockets = ListenSockets::Open({.host = "127.0.0.1", .port = 0});
    CHECK(sockets.ok()) << sockets.status();
    port_ = sockets->port();
    acceptor_ = std::make_unique<ConnectionAcceptor>(std::move(sockets).value(), limits, clock_,
                                                     [this](int, int fd) { held_.Take(fd); });
    acceptor_->Start();
  }
  Client Connect(const char* from = "127.0.0.1") const { return Client(from, port_); }
  bool WaitForCount(uint64_t count) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (acceptor_->connection_count() != count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }

  StoppedClock clock_;
  Held held_;
  uint16_t port_ = 0;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

TEST_F(ConnectionAcceptorTest, OneAddressTooOften_IsClosedAtOnce_AndAnotherOneIsTaken) {
  Start(
      {.connections_max = 100, .per_address = {.connections_max = 2, .is_loopback_exempt = false}});
  const Client first = Connect();
  const Client second = Connect();
  ASSERT_TRUE(WaitForCount(2));
  EXPECT_TRUE(Connect().WaitForClose());
  const Client other = Connect("127.0.0.2");
  EXPECT_TRUE(WaitForCount(3));
}

TEST_F(ConnectionAcceptorTest, ProgramsOfThisMachine_AreBoundedByTheWholeAlone) {
  Start({.connections_max = 5, .per_address = {.connections_max = 2}});
  std::vector<Client> clients;
  for (int i = 0; i < 5; ++i) clients.push_back(Connect());
  EXPECT_TRUE(WaitForCount(5));
  EXPECT_TRUE(Connect().WaitForClose());
}

TEST_F(ConnectionAcceptorTest, MoreThanMayComeAtOnce_AreClosed) {
  Start({.connections_max = 100,
         .per_address = {
             .accepts_per_second_max = 1, .accepts_at_once_max = 8, .is_loopback_exempt = false}});
  const Client first = Connect();
  const Client second = Connect();
  ASSERT_TRUE(WaitForCount(2));
  EXPECT_TRUE(Connect().WaitForClose()) << "a quarter of eight is two";
  const Client other = Connect("127.0.0.2");
  EXPECT_TRUE(WaitForCount(3));
}

}  // namespace
}  // namespace millrace::broker::edge

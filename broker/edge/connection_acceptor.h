// Accepts clients' connections and hands them to gRPC, as many at once as may be; others are closed
// at once, so that a client tries another broker in place of waiting. gRPC 1.51 knows no such
// bound, and when the process has no file descriptor left, it stops listening for good and the
// broker cannot open its own files.
//
// gRPC owns a connection from then on and tells nobody when it is over: a second descriptor of the
// same socket is kept here, which reports the hang-up.
//
// Owned by GrpcEdge. One thread of its own; Start and Stop from one other.
//
//   ConnectionAcceptor acceptor(std::move(sockets), limits, clock, hand_over);
//   acceptor.Start();
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "broker/edge/address_limits.h"
#include "broker/edge/listen_sockets.h"
#include "raft/runtime/clock.h"

namespace millrace::broker::edge {

class ConnectionAcceptor {
 public:
  struct Limits {
    // Connections at once, of all addresses together.
    uint64_t connections_max = 1'000;
    AddressLimits::Options per_address;
  };
  // Takes over `fd`, which came in at `listen_fd`. On the acceptor's thread.
  using HandOver = std::function<void(int listen_fd, int fd)>;

  ConnectionAcceptor(ListenSockets sockets, const Limits& limits, const Clock& clock,
                     HandOver hand_over);
  // Stops.
  ~ConnectionAcceptor();
  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  void Start();
  // Listens no more, and waits for the thread; connections stay. Again: nothing.
  void Stop();

  // Any thread.
  uint64_t connection_count() const { return connection_count_.load(std::memory_order_relaxed); }

 private:
  void Run();
  void Accept(int listen_fd);
  void Take(int listen_fd, int fd, const ClientAddress& address);
  bool MayTake(const ClientAddress& address);
  void OnHangUp(int watched);
  void ListenAgain(bool on);

  ListenSockets sockets_;
  const uint64_t connections_max_;
  const Clock& clock_;
  HandOver hand_over_;
  int epoll_ = -1;
  int wake_ = -1;
  std::thread thread_;
  // The acceptor's thread from here on.
  std::map<int, ClientAddress> watched_;
  AddressLimits address_limits_;
  bool is_listening_ = true;
  std::atomic<uint64_t> connection_count_ = 0;
};

}  // namespace millrace::broker::edge

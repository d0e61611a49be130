// The real Network: TCP over an EventLoop.
//
// Owned by whoever owns the loop, on the loop's thread; gone before the loop, and after its
// listeners. Connections may outlive it. A listener resolves its host in place, which is for
// start-up; a connect never blocks.
//
//   TcpNetwork network(loop);
//   network.Connect({"127.0.0.1", 7441}, timeout, [](auto connection) { ... });
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "raft/runtime/event_loop.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/network.h"
#include "raft/runtime/resolver.h"
#include "raft/runtime/socket_address.h"

namespace millrace {

class TcpNetwork final : public Network {
 public:
  explicit TcpNetwork(EventLoop& loop);
  // Connects in progress are dropped, their handlers destroyed uncalled.
  ~TcpNetwork() override;
  TcpNetwork(const TcpNetwork&) = delete;
  TcpNetwork& operator=(const TcpNetwork&) = delete;

  Result<std::unique_ptr<Listener>> Listen(const Endpoint& endpoint,
                                           AcceptHandler on_accept) override;
  void Connect(const Endpoint& endpoint, Duration timeout, ConnectHandler done) override;

 private:
  class Attempt;

  void OnResolved(uint64_t attempt, Result<std::vector<SocketAddress>> addresses);
  void Finish(uint64_t attempt, Result<std::unique_ptr<Connection>> outcome);

  EventLoop* loop_;
  uint64_t next_attempt_ = 1;
  std::map<uint64_t, std::unique_ptr<Attempt>> attempts_;
  Resolver resolver_;
  Lifetime lifetime_;
};

}  // namespace millrace

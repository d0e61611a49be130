// Resolves host names on a thread of its own, because the system's resolver blocks for as long as
// it likes and a run loop must not. The thread starts with the first name.
//
// Owned by TcpNetwork, on its loop's thread; callbacks are posted to the loop.
//
//   resolver.Resolve(endpoint, [](Result<std::vector<SocketAddress>> addresses) { ... });
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "raft/runtime/executor.h"
#include "raft/runtime/socket_address.h"

namespace millrace {

class Resolver {
 public:
  using Callback = MoveFunction<void(Result<std::vector<SocketAddress>>)>;

  explicit Resolver(Executor& executor) : executor_(&executor) {}
  // Waits for the lookup in progress; callbacks that were not called are destroyed.
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Calls `done` later, on the executor.
  void Resolve(const Endpoint& endpoint, Callback done);

 private:
  struct Request {
    Endpoint endpoint;
    Callback done;
  };

  void RunThread();

  Executor* executor_;
  std::thread thread_;
  std::mutex mu_;
  std::condition_variable changed_;
  std::deque<Request> requests_;  // guarded by mu_
  bool is_stopping_ = false;      // guarded by mu_
};

}  // namespace millrace

// What the public classes share: the client's thread with its run loop, the connector and the
// client that live there, and how other threads call in.
//
// Shared by Client, Admin and every producer and consumer; the last of them ends the thread, which
// must not be done on that thread itself.
//
//   Result<v1::GetServerInfoResponse> info = runtime.Await<v1::GetServerInfoResponse>(
//       [&](auto done) { runtime.client().GetServerInfo(timeout, std::move(done)); });
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <utility>

#include "client/core/client.h"
#include "client/core/connector.h"
#include "proto/base/status.h"
#include "raft/runtime/loop_thread.h"
#include "raft/runtime/real_clock.h"

namespace millrace::internal {

class Runtime {
 public:
  // How the network is reached; called on the client's thread, with its executor.
  using MakeConnector = std::function<std::unique_ptr<client::Connector>(Executor& executor)>;
  // By gRPC.
  explicit Runtime(client::ClientOptions options);
  Runtime(client::ClientOptions options, const MakeConnector& make_connector);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  bool IsLoopThread() const { return thread_.loop().IsOwnerThread(); }
  const Clock& clock() const { return clock_; }
  // To be used on the loop's thread alone.
  client::Client& client() { return *client_; }

  void Post(Task task) { thread_.executor().Post(std::move(task)); }
  // Runs `task` on the loop's thread and waits for its end; on that thread, at once.
  void RunAndWait(Task task);

  // Starts an operation on the loop's thread and waits for its end, which `done` tells.
  // FAILED_PRECONDITION on that thread.
  template <typename T>
  Result<T> Await(const std::function<void(client::ResponseDone<T> done)>& start) {
    if (IsLoopThread()) return WouldBlock();
    std::promise<Result<T>> promise;
    std::future<Result<T>> result = promise.get_future();
    RunAndWait([&] {
      start([promise = std::move(promise)](Result<T> value) mutable {
        promise.set_value(std::move(value));
      });
    });
    return result.get();
  }
  static Status WouldBlock();

 private:
  RealClock clock_;
  mutable LoopThread thread_;
  std::unique_ptr<client::Connector> connector_;
  std::unique_ptr<client::Client> client_;
};

// What operations without a value answer with in Await.
struct Done {};

// A timeout as a program gives it, which may be milliseconds::max() for "for ever": a year at most,
// so that nothing overflows that is reckoned with it.
inline Duration Bounded(std::chrono::milliseconds timeout) {
  constexpr std::chrono::milliseconds kMax = std::chrono::hours(365 * 24);
  return std::clamp(timeout, std::chrono::milliseconds(0), kMax);
}

}  // namespace millrace::internal

// One command's world: run loop, clock, gRPC and a Client. The command starts something, callbacks
// follow, and one of them ends the session with the exit code.
//
// On main's thread, which becomes the loop's.
//
//   Session session(options);
//   if (Status ready = session.Init(); !ready.ok()) return Fail(ready);
//   return session.Run([&] { session.client().DescribeCluster(..., [&](auto r) { session.End(0);
//   }); });
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "client/cli/common_options.h"
#include "client/cpp/client.h"
#include "client/cpp/grpc_connector.h"
#include "proto/base/status.h"
#include "raft/runtime/event_loop.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {

class Session {
 public:
  explicit Session(const CommonOptions& options) : options_(options) {}

  // INVALID_ARGUMENT if --bootstrap cannot be read. Before anything else.
  Status Init();

  Client& client() { return *client_; }
  EventLoop& loop() { return loop_; }
  const Clock& clock() const { return clock_; }

  // Runs `start` on the loop, and the loop until End. What `start` set going must be destroyed
  // before the session. SIGINT and SIGTERM call `on_interrupt`, or end the process if there is
  // none.
  int Run(Task start, std::function<void()> on_interrupt = {});
  void End(int exit_code);
  // Ends with "error: ..." on stderr.
  void EndWith(const Status& status);
  bool has_ended() const { return has_ended_; }

 private:
  void WatchSignals();

  const CommonOptions options_;
  RealClock clock_;
  EventLoop loop_;
  std::unique_ptr<GrpcConnector> connector_;
  std::unique_ptr<Client> client_;
  std::function<void()> on_interrupt_;
  int exit_code_ = 0;
  bool has_ended_ = false;
};

// Runs `start` in a session of its own; it arranges for the end.
int RunOnce(const CommonOptions& options, const std::function<void(Session&)>& start);

}  // namespace millrace::client::cli

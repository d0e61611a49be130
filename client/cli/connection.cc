#include "client/cli/connection.h"

#include <csignal>

#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

volatile std::sig_atomic_t signal_received = 0;

void OnSignal(int) { signal_received = 1; }

}  // namespace

Result<std::unique_ptr<millrace::Client>> Connect(const CommonOptions& options) {
  return millrace::Client::Connect(
      {.bootstrap = options.bootstrap, .connect_timeout = options.timeout_ms()});
}

int RunConnected(const CommonOptions& options,
                 const std::function<Status(millrace::Client&)>& command) {
  const Result<std::unique_ptr<millrace::Client>> client = Connect(options);
  if (!client.ok()) return Fail(client.status());
  const Status done = command(**client);
  return done.ok() ? 0 : Fail(done);
}

void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the process at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

bool IsInterrupted() { return signal_received != 0; }

}  // namespace millrace::client::cli

#include "client/cli/session.h"

#include <csignal>
#include <utility>

#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

constexpr Duration kSignalInterval = std::chrono::milliseconds(50);

volatile std::sig_atomic_t signal_received = 0;

void OnSignal(int) { signal_received = 1; }

void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends the process at once
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

Status Session::Init() {
  ASSIGN_OR_RETURN(std::vector<std::string> addresses, ParseBootstrap(options_.bootstrap));
  connector_ = std::make_unique<GrpcConnector>(loop_, GrpcConnector::Options());
  client_ = std::make_unique<Client>(Client::Environment{.executor = loop_,
                                                         .clock = clock_,
                                                         .connector = *connector_,
                                                         .random = Random(EntropySeed())},
                                     ClientOptions{.bootstrap = std::move(addresses)});
  return {};
}

int Session::Run(Task start, std::function<void()> on_interrupt) {
  on_interrupt_ = std::move(on_interrupt);
  if (on_interrupt_) {
    CatchSignals();
    WatchSignals();
  }
  loop_.Post(std::move(start));
  loop_.Run();
  return exit_code_;
}

void Session::WatchSignals() {
  if (signal_received != 0) return on_interrupt_();
  loop_.RunAfter(kSignalInterval, [this] { WatchSignals(); });
}

void Session::End(int exit_code) {
  if (has_ended_) return;
  has_ended_ = true;
  exit_code_ = exit_code;
  loop_.Stop();
}

void Session::EndWith(const Status& status) {
  if (!has_ended_) End(Fail(status));
}

int RunOnce(const CommonOptions& options, const std::function<void(Session&)>& start) {
  Session session(options);
  const Status ready = session.Init();
  if (!ready.ok()) return Fail(ready);
  return session.Run([&] { start(session); });
}

}  // namespace millrace::client::cli

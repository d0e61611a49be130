// Puts a load on a cluster and writes its history, until stdin ends; then drains. While it runs,
// stdout has a JSON line now and then with the records acknowledged in each partition; the last
// line says how it ended. Exit code 1: it did not drain, or the history could not be written.
//
//   history_load --bootstrap 127.0.0.1:7440 --topic events --history history.jsonl
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <glog/logging.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <unistd.h>

#include "client/grpc/grpc_connector.h"
#include "raft/runtime/event_loop.h"
#include "raft/runtime/real_clock.h"
#include "tests/checker/load/load.h"

namespace millrace::checker {
namespace {

constexpr Duration kReportInterval = std::chrono::milliseconds(50);

struct Options {
  LoadOptions load;
  std::string history;
};

bool HasInputEnded() {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  if (poll(&input, 1, 0) <= 0) return false;
  char byte;
  return read(STDIN_FILENO, &byte, 1) <= 0;
}

class Program {
 public:
  Program(const Options& options, std::ostream& history)
      : recorder_(history, clock_),
        connector_(loop_, {}),
        load_({loop_, clock_, connector_, Random(EntropySeed())}, options.load, recorder_,
              [this](const Status& status) { OnEnd(status); }) {}

  int Run() {
    loop_.Post([this] {
      load_.Start();
      Report();
    });
    loop_.Run();
    return exit_code_;
  }

 private:
  void Report() {
    if (has_ended_) return;  // its timer may be due in the loop's last turn
    std::cout << nlohmann::json{{"acknowledged", recorder_.acknowledged()}}.dump() << std::endl;
    if (!is_stopping_ && HasInputEnded()) {
      is_stopping_ = true;
      load_.Stop();
    }
    loop_.RunAfter(kReportInterval, [this] { Report(); });
  }

  void OnEnd(const Status& status) {
    has_ended_ = true;
    const Status last_error = load_.last_error();
    std::cout << nlohmann::json{{"ended", status.ToString()},
                                {"acknowledged", recorder_.acknowledged()},
                                {"producer_restarts", load_.producer_restarts()},
                                {"reader_restarts", load_.reader_restarts()},
                                {"last_error", last_error.ok() ? "" : last_error.ToString()}}
                     .dump()
              << std::endl;
    exit_code_ = status.ok() && recorder_.is_written() ? 0 : 1;
    loop_.Stop();
  }

  const RealClock clock_;
  EventLoop loop_;
  Recorder recorder_;
  client::GrpcConnector connector_;
  Load load_;
  bool is_stopping_ = false;
  bool has_ended_ = false;
  int exit_code_ = 0;
};

int Main(int argc, char** argv) {
  CLI::App app("Puts a load on a cluster and writes its history.");
  Options options;
  double drain_seconds = 60;
  int64_t delete_ms = 0;
  app.add_option("--bootstrap", options.load.bootstrap)->delimiter(',')->required();
  app.add_option("--topic", options.load.topic)->required();
  app.add_option("--history", options.history, "file of JSON lines")->required();
  app.add_option("--producers", options.load.producers);
  app.add_option("--readers", options.load.readers);
  app.add_option("--rate", options.load.records_per_second, "records a second, of all producers");
  app.add_option("--delete-ms", delete_ms, "between two deletions of oldest records; 0: none");
  app.add_option("--drain-seconds", drain_seconds);
  CLI11_PARSE(app, argc, argv);
  options.load.delete_interval = std::chrono::milliseconds(delete_ms);
  options.load.drain_timeout = Duration(static_cast<int64_t>(drain_seconds * 1e6));
  std::ofstream history(options.history);
  if (!history.is_open()) {
    std::cerr << "error: cannot write " << options.history << "\n";
    return 1;
  }
  const int exit_code = Program(options, history).Run();
  history.close();
  return history.fail() ? 1 : exit_code;
}

}  // namespace
}  // namespace millrace::checker

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  FLAGS_logtostderr = true;
  return millrace::checker::Main(argc, argv);
}

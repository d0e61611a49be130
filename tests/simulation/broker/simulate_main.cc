// simulate_broker: runs seeds of the whole-broker simulator, replays a failing one, and shrinks it.
//
//   simulate_broker --seeds=20              # 1 to 20
//   simulate_broker --seed=42 --verbose
//   simulate_broker --seed=42 --without=stalls --without=pauses
//   simulate_broker --seed=42 --shrink      # leaves out what the failure does not need
//   simulate_broker --seed=42 --mutant=sequences_lost_on_leader_change
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <glog/logging.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/mutants.h"
#include "tests/simulation/broker/run.h"

namespace {

using millrace::sim::FaultClass;
using millrace::sim::RunOptions;
using millrace::sim::RunResult;

struct Flags {
  uint64_t seed = 0;
  uint64_t first = 1;
  uint64_t seeds = 20;
  size_t brokers = 0;
  std::string mutant;
  std::vector<std::string> without;
  bool is_verbose = false;
  bool shrinks = false;
};

// The run under way, for a CHECK's last words.
RunOptions current;
std::string current_mutant;

[[noreturn]] void DieNamingTheSeed() {
  const std::string command = current.Rerun(current_mutant);
  std::fprintf(stderr, "rerun: %s\n", command.c_str());
  std::abort();
}

void Print(const RunOptions& options, const RunResult& result) {
  std::cout << "seed=" << options.seed << " acknowledged=" << result.acknowledged
            << " reads=" << result.reads << " deletions=" << result.deletions
            << " kills=" << result.kills << " power_losses=" << result.power_losses
            << " partitions=" << result.partitions << " leader_changes=" << result.leader_changes
            << " recovery_ms=" << result.recovery.count() / 1000 << " hash=" << std::hex
            << result.trace_hash << std::dec << " " << result.swarm << std::endl;
  for (const std::string& anomaly : result.anomalies) std::cout << "  " << anomaly << std::endl;
  if (result.anomalies.empty()) return;
  std::cout << "  rerun: " << options.Rerun(current_mutant)
            << "\n  for tests/simulation/regressions.txt: broker " << options.seed << " # why"
            << std::endl;
}

// How the run fails: the name of its first anomaly, "stopped by an invariant", or nothing. In a
// process of its own.
std::string FailureOf(const RunOptions& options) {
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    (void)!freopen("/dev/null", "w", stderr);
    const RunResult result = millrace::sim::RunSeed(options);
    if (!result.anomalies.empty()) {
      const std::string name = result.anomalies[0].substr(0, result.anomalies[0].find(':'));
      (void)!write(ends[1], name.data(), name.size());
    }
    _exit(0);
  }
  close(ends[1]);
  char text[200];
  const ssize_t size = read(ends[0], text, sizeof text);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) return "stopped by an invariant";
  return {text, static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

int Shrink(RunOptions options) {
  const std::string failure = FailureOf(options);
  if (failure.empty()) {
    std::cout << "seed=" << options.seed << " does not fail\n";
    return 0;
  }
  std::cout << "fails with: " << failure << std::endl;
  for (const auto& [fault, name] : millrace::sim::kFaultClasses) {
    RunOptions less = options;
    if (!less.without.insert(fault).second || FailureOf(less) != failure) continue;
    options = less;
  }
  const auto swarm =
      millrace::sim::Swarm::Draw(options.seed, options.brokers, options.without).ToString();
  std::cout << "what is left: " << swarm << "\nrerun: " << options.Rerun(current_mutant)
            << std::endl;
  return 1;
}

int RunSeeds(const Flags& flags) {
  int failed = 0;
  millrace::Duration simulated{};
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t at = flags.first; at < flags.first + flags.seeds; ++at) {
    current.seed = at;
    const RunResult result = millrace::sim::RunSeed(current);
    simulated += result.simulated;
    Print(current, result);
    failed += result.anomalies.empty() ? 0 : 1;
  }
  const auto real = std::chrono::steady_clock::now() - begin;
  std::cout << failed << " of " << flags.seeds << " seeds failed; "
            << std::chrono::duration<double>(simulated) / std::chrono::duration<double>(real)
            << " times real time\n";
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_FATAL;
  google::InitGoogleLogging(argv[0]);
  google::InstallFailureFunction(&DieNamingTheSeed);
  Flags flags;
  CLI::App app("Simulates whole brokers", "simulate_broker");
  app.add_option("--seed", flags.seed, "Run this seed alone");
  app.add_option("--first", flags.first, "First seed");
  app.add_option("--seeds", flags.seeds, "How many seeds");
  app.add_option("--brokers", flags.brokers,
                 "Brokers in the cluster, 1 to 5; else as the seed says");
  app.add_option("--without", flags.without, "Leave a class of faults out; as often as wanted");
  app.add_option("--fail-call", current.fail_call,
                 "This file-system call of the broker that --fail-broker names fails");
  app.add_option("--fail-with", current.fail_with, "With this error: EIO, ENOSPC or EMFILE")
      ->check(CLI::IsMember({"EIO", "ENOSPC", "EMFILE"}));
  app.add_option_function<int64_t>(
      "--fail-for-ms", [](int64_t ms) { current.fail_for = std::chrono::milliseconds(ms); },
      "So do all its calls after that one, for so long");
  app.add_option("--fail-broker", current.fail_broker,
                 "This broker is killed and started again in the midst of the chaos");
  app.add_option_function<int64_t>(
      "--chaos-ms", [](int64_t ms) { current.chaos = std::chrono::milliseconds(ms); },
      "How long there are faults");
  app.add_option("--mutant", flags.mutant, "Turn a broken variant on");
  app.add_flag("--shrink", flags.shrinks,
               "Leave out every class that the seed's failure needs not");
  app.add_flag("--verbose", flags.is_verbose, "Say what happens");
  CLI11_PARSE(app, argc, argv);
  if (flags.is_verbose) FLAGS_minloglevel = google::GLOG_INFO;
  if (!flags.mutant.empty() && !millrace::SetMutant(flags.mutant)) {
    std::cerr << "simulate_broker: this build has no mutant " << flags.mutant << "\n";
    return 2;
  }
  for (const std::string& name : flags.without) {
    const std::optional<FaultClass> fault = millrace::sim::FaultClassNamed(name);
    if (!fault.has_value()) {
      std::cerr << "simulate_broker: there is no class of faults " << name << "\n";
      return 2;
    }
    current.without.insert(*fault);
  }
  current_mutant = flags.mutant;
  current.brokers = flags.brokers;
  current.is_verbose = flags.is_verbose;
  if (flags.seed != 0) {
    flags.first = flags.seed;
    flags.seeds = 1;
  }
  if (flags.shrinks) {
    current.seed = flags.first;
    return Shrink(current);
  }
  return RunSeeds(flags);
}

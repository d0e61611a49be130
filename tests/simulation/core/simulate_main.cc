// simulate_core: runs seeds of the core-level simulator, and replays a failing one.
//
//   simulate_core --seeds=1000            # 1 to 1000
//   simulate_core --seed=42               # one, with its counters
//   simulate_core --seed=42 --mutant=vote_not_persisted
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "raft/runtime/real_clock.h"
#include "tests/simulation/core/cluster.h"

namespace {

using millrace::simulation::core::Outcome;

struct Flags {
  uint64_t seed = 0;
  uint64_t first = 1;
  uint64_t seeds = 100;
  int64_t seconds = 0;
  std::string mutant;
};

std::string ReplayCommand(uint64_t seed, const std::string& mutant) {
  std::string command = "simulate_core --seed=" + std::to_string(seed);
  if (!mutant.empty()) command += " --mutant=" + mutant;
  return command;
}

void PrintFailure(uint64_t seed, const Flags& flags, const Outcome& outcome) {
  std::cout << "seed=" << seed << " " << outcome.swarm.ToString() << "\n"
            << outcome.anomaly.name << ": " << outcome.anomaly.details << "\n"
            << "rerun: " << ReplayCommand(seed, flags.mutant) << "\n";
}

// The seed under way, for a CHECK's last words.
uint64_t current_seed = 0;
std::string current_mutant;

[[noreturn]] void DieNamingTheSeed() {
  const std::string command = ReplayCommand(current_seed, current_mutant);
  std::fprintf(stderr, "rerun: %s\n", command.c_str());
  std::abort();
}

int RunSeeds(const Flags& flags) {
  const millrace::RealClock clock;
  const millrace::MonotonicTime start = clock.Now();
  const auto elapsed_s = [&] { return static_cast<double>((clock.Now() - start).count()) / 1e6; };
  std::map<std::string, uint64_t> counters;
  double simulated_s = 0;
  uint64_t done = 0;
  const uint64_t first = flags.seed != 0 ? flags.seed : flags.first;
  const uint64_t count = flags.seed != 0 ? 1 : flags.seeds;
  const auto is_time_up = [&] {
    return flags.seconds > 0 && elapsed_s() >= static_cast<double>(flags.seconds);
  };
  for (; (flags.seconds > 0 || done < count) && !is_time_up(); ++done) {
    current_seed = first + done;
    const Outcome outcome = millrace::simulation::core::Simulate(current_seed);
    simulated_s += static_cast<double>(outcome.simulated_us) / 1e6;
    for (const auto& [name, value] : outcome.statistics.counters) counters[name] += value;
    if (!outcome.ok()) {
      PrintFailure(current_seed, flags, outcome);
      return 1;
    }
    if (flags.seed != 0) {
      std::cout << outcome.swarm.ToString() << "\ntrace hash " << outcome.statistics.trace_hash
                << "\n";
    }
  }
  std::cout << done << " seeds clean, " << simulated_s << " s simulated in " << elapsed_s()
            << " s: " << simulated_s / elapsed_s() << " times real time\n";
  for (const auto& [name, value] : counters) std::cout << "  " << name << ": " << value << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  google::InitGoogleLogging(argv[0]);
  google::InstallFailureFunction(&DieNamingTheSeed);
  Flags flags;
  CLI::App app("Simulates Raft cores under faults");
  app.add_option("--seed", flags.seed, "Replay this seed alone");
  app.add_option("--first", flags.first, "First seed");
  app.add_option("--seeds", flags.seeds, "How many seeds");
  app.add_option("--seconds", flags.seconds, "Run seeds for this long instead");
  app.add_option("--mutant", flags.mutant, "Break the core deliberately, e.g. vote_not_persisted");
  CLI11_PARSE(app, argc, argv);
  if (!flags.mutant.empty() && !millrace::SetMutant(flags.mutant)) {
    std::cerr << "this build has no mutant " << flags.mutant << "\n";
    return 2;
  }
  current_mutant = flags.mutant;
  return RunSeeds(flags);
}

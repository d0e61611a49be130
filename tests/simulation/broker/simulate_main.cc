// simulate_broker: runs seeds of the whole-broker simulator, and replays a failing one.
//
//   simulate_broker --seeds=20              # 1 to 20
//   simulate_broker --seed=42 --verbose
//   simulate_broker --seed=42 --mutant=sequences_lost_on_leader_change
#include <chrono>
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <glog/logging.h>

#include "proto/base/mutants.h"
#include "tests/simulation/broker/run.h"

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_ERROR;
  google::InitGoogleLogging(argv[0]);
  uint64_t seed = 0;
  uint64_t first = 1;
  uint64_t seeds = 20;
  size_t brokers = 3;
  std::string mutant;
  bool is_verbose = false;
  CLI::App app("Simulates whole brokers", "simulate_broker");
  app.add_option("--seed", seed, "Run this seed alone");
  app.add_option("--first", first, "First seed");
  app.add_option("--seeds", seeds, "How many seeds");
  app.add_option("--brokers", brokers, "Brokers in the cluster: 1, 3 or 5");
  app.add_option("--mutant", mutant, "Turn a broken variant on");
  app.add_flag("--verbose", is_verbose, "Say what happens");
  CLI11_PARSE(app, argc, argv);
  if (is_verbose) FLAGS_minloglevel = google::GLOG_INFO;
  if (!mutant.empty() && !millrace::SetMutant(mutant)) {
    std::fprintf(stderr, "simulate_broker: this build has no mutant %s\n", mutant.c_str());
    return 2;
  }
  if (seed != 0) {
    first = seed;
    seeds = 1;
  }
  int failed = 0;
  millrace::Duration simulated{};
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t at = first; at < first + seeds; ++at) {
    const auto result =
        millrace::sim::RunSeed({.seed = at, .brokers = brokers, .is_verbose = is_verbose});
    simulated += result.simulated;
    std::printf(
        "seed=%llu acknowledged=%llu reads=%llu kills=%llu power_losses=%llu "
        "partitions=%llu leader_changes=%llu hash=%016llx\n",
        static_cast<unsigned long long>(at), static_cast<unsigned long long>(result.acknowledged),
        static_cast<unsigned long long>(result.reads),
        static_cast<unsigned long long>(result.kills),
        static_cast<unsigned long long>(result.power_losses),
        static_cast<unsigned long long>(result.partitions),
        static_cast<unsigned long long>(result.leader_changes),
        static_cast<unsigned long long>(result.trace_hash));
    for (const std::string& anomaly : result.anomalies) {
      std::printf("  %s\n", anomaly.c_str());
    }
    if (result.anomalies.empty()) continue;
    ++failed;
    std::printf("  rerun: %s\n", result.Rerun(mutant).c_str());
  }
  const auto real = std::chrono::steady_clock::now() - begin;
  std::printf("%d of %llu seeds failed; %.1f times real time\n", failed,
              static_cast<unsigned long long>(seeds),
              std::chrono::duration<double>(simulated) / std::chrono::duration<double>(real));
  return failed == 0 ? 0 : 1;
}

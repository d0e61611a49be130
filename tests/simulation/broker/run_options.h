// What is run, and the flags of simulate_broker that say so.
//
// A value; any thread.
//
//   RunOptions options{.seed = 7};
//   options.SetFlag("--brokers=3");
//   std::cout << options.Rerun();
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "proto/base/status.h"
#include "raft/runtime/clock.h"
#include "tests/simulation/broker/swarm.h"

namespace millrace::sim {

struct RunOptions {
  uint64_t seed = 1;
  // 0: as the seed says.
  size_t brokers = 0;
  Duration chaos = std::chrono::seconds(15);
  // Classes of faults that are left out, to shrink a failure.
  std::set<FaultClass> without;
  // This broker, from 1, is killed and started again in the midst of the chaos; 0 for none.
  size_t fail_broker = 0;
  // Its n-th file-system call, whatever it is, fails; 0 for none.
  uint64_t fail_call = 0;
  // ... with this error; EIO, ENOSPC or EMFILE.
  std::string fail_with = "EIO";
  // ... and every call after it for so long.
  Duration fail_for{0};
  // For the log of a single run.
  bool is_verbose = false;

  // Takes a flag of that command, such as "--brokers=1"; false if it is none.
  bool SetFlag(std::string_view flag);
  // What fail_with names; nothing if it names none of them.
  std::optional<Status> FailStatus() const;
  // The command that runs this again.
  std::string Rerun(const std::string& mutant = "") const;
};

}  // namespace millrace::sim

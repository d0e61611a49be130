// How many random seeds a test plays: until its budget of CPU time is spent, but never fewer than a
// least number, which finds what it must find on any machine, nor more than a largest, so that a
// fast machine ends too. CPU time, so that a machine's other work does not count.
//
// One thread.
//
//   SeedBudget budget({.first = 1, .least = 60, .most = 150, .cpu_seconds = 90});
//   while (std::optional<uint64_t> seed = budget.Next()) Play(*seed);
#pragma once

#include <cstdint>
#include <ctime>
#include <iostream>
#include <optional>

namespace millrace::simulation {

class SeedBudget {
 public:
  struct Options {
    uint64_t first = 1;
    uint64_t least = 0;
    uint64_t most = 0;
    double cpu_seconds = 0;
  };

  explicit SeedBudget(const Options& options)
      : options_(options), next_(options.first), began_(std::clock()) {}
  SeedBudget(const SeedBudget&) = delete;
  SeedBudget& operator=(const SeedBudget&) = delete;
  // Says how far it came.
  ~SeedBudget() {
    std::cout << "seeds " << options_.first << " to " << next_ - 1 << " in " << spent_seconds()
              << " s of CPU" << std::endl;
  }

  // The next seed; nullopt once enough were played.
  std::optional<uint64_t> Next() {
    const uint64_t played = next_ - options_.first;
    if (played >= options_.most) return std::nullopt;
    if (played >= options_.least && spent_seconds() >= options_.cpu_seconds) return std::nullopt;
    return next_++;
  }

 private:
  double spent_seconds() const {
    return static_cast<double>(std::clock() - began_) / CLOCKS_PER_SEC;
  }

  const Options options_;
  uint64_t next_;
  const std::clock_t began_;
};

}  // namespace millrace::simulation

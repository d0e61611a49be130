// What a benchmark measured of several ways to do the same work, in turn in one run: each way is a
// phase, each turn a round. Ratios are of phases of the same round, to the first phase, so that
// what else the machine does weighs on both.
//
// Pure; any thread.
//
//   BenchPhase plain{.name = "plain"};
//   plain.records_per_second.push_back(rate);
//   std::fputs(PhasesToText({&plain, &overlapped}).c_str(), stdout);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/cli/histogram.h"
#include "client/cli/output.h"

namespace millrace::client::cli {

struct BenchPhase {
  std::string name;
  uint64_t records = 0;                         // of all rounds
  uint64_t transactions = 0;                    // likewise
  std::vector<double> records_per_second = {};  // a round each
  Histogram commits = {};  // from asking for a commit until it was answered, of all rounds
};

// In the order in which they are shown; the first is what the others are compared to. Each has as
// many rounds, one or more.
using BenchPhases = std::vector<const BenchPhase*>;

// The middle one, the mean of both middle ones of an even number. Pre: not empty.
double MedianOf(std::vector<double> values);
// The median of the rounds' ratios.
double RatioOf(const BenchPhase& phase, const BenchPhase& base);

// Columns for commits only where there are some.
std::string PhasesToText(const BenchPhases& phases);
Json PhasesToJson(const BenchPhases& phases);

}  // namespace millrace::client::cli

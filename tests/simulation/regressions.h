// The seeds that once failed, from tests/simulation/regressions.txt: lines of
// `level seed [flags] # why`. Run before all others.
//
// Values; any thread.
//
//   for (const Regression& known : RegressionsOf("broker")) RunSeed(known.seed);
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace millrace::sim {

struct Regression {
  uint64_t seed = 0;
  std::vector<std::string> flags;  // e.g. "--brokers=1"
};

inline std::vector<Regression> RegressionsOf(const std::string& level) {
  std::vector<Regression> found;
  std::ifstream file(std::string(MILLRACE_SOURCE_DIR) + "/tests/simulation/regressions.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string name;
    Regression known;
    if (!(words >> name >> known.seed) || name != level) continue;
    for (std::string flag; words >> flag;) known.flags.push_back(flag);
    found.push_back(std::move(known));
  }
  return found;
}

}  // namespace millrace::sim

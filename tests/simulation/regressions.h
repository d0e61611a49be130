// The seeds that once failed, from tests/simulation/regressions.txt: lines of
// `level seed [flags] # why`. Run before all others. A line that nobody would run is an error.
//
// Values; any thread.
//
//   for (const Regression& known : RegressionsOf("broker").value()) RunSeed(known.seed);
#pragma once

#include <cstdint>
#include <fstream>
#include <istream>
#include <sstream>
#include <string>
#include <vector>

#include "proto/base/status.h"

namespace millrace::sim {

struct Regression {
  uint64_t seed = 0;
  std::vector<std::string> flags;  // e.g. "--brokers=1"
};

inline Result<std::vector<Regression>> ParseRegressions(std::istream& lines,
                                                        const std::string& level) {
  std::vector<Regression> found;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    std::string name;
    Regression known;
    if (!(words >> name)) continue;
    if ((name != "core" && name != "broker") || !(words >> known.seed)) {
      return InvalidArgument("neither `core SEED` nor `broker SEED`: " + line);
    }
    for (std::string flag; words >> flag;) known.flags.push_back(flag);
    if (name == level) found.push_back(std::move(known));
  }
  return found;
}

inline Result<std::vector<Regression>> RegressionsOf(const std::string& level) {
  const std::string path = std::string(MILLRACE_SOURCE_DIR) + "/tests/simulation/regressions.txt";
  std::ifstream file(path);
  if (!file.is_open()) return NotFound(path);
  return ParseRegressions(file, level);
}

}  // namespace millrace::sim

// Prints what a simulation reached, and names what it should have reached and did not.
//
// Values; called once its seeds have run.
//
//   EXPECT_EQ(Unreached(kMustBeReached), "");
#pragma once

#include <iomanip>
#include <iostream>
#include <span>
#include <string>
#include <string_view>

#include "proto/base/coverage.h"

namespace millrace::sim {

inline std::string Unreached([[maybe_unused]] std::span<const std::string_view> names) {
  std::string missing;
#if defined(MILLRACE_MUTANTS)
  const std::map<std::string, uint64_t> counts = CoverageCounter::All();
  for (const auto& [name, count] : counts) {
    std::cout << std::setw(10) << count << "  " << name << "\n";
  }
  for (const std::string_view name : names) {
    const auto found = counts.find(std::string(name));
    if (found == counts.end() || found->second == 0) missing += std::string(name) + "; ";
  }
#endif
  return missing;
}

}  // namespace millrace::sim

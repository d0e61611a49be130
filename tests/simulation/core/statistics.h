// What a run went through: a trace hash, which two runs of one seed must share, and counters that
// show whether the faults reached the states they are meant to reach.
//
// Owned by World; a value.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace millrace::simulation::core {

struct Statistics {
  uint64_t trace_hash = 0xcbf29ce484222325;
  std::map<std::string, uint64_t> counters;

  void Mix(uint64_t value) {
    trace_hash = (trace_hash ^ value) * 0x100000001b3;
    trace_hash ^= trace_hash >> 29;
  }
  void Count(const char* what, uint64_t by = 1) { counters[what] += by; }
};

}  // namespace millrace::simulation::core

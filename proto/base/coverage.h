// States that the simulators must reach now and then: a test of faults that never brings about
// "a duplicate was answered after a leader change" says nothing about it. A place counts by name;
// tests/simulation holds lists of names, and fails for one that stayed at zero. Compiled in only
// where the build sets MILLRACE_MUTANTS (the test presets); in a release it adds no code and does
// not evaluate the condition. Counting decides nothing.
//
// Any thread.
//
//   MILLRACE_SOMETIMES("a read was served from segments");
//   MILLRACE_SOMETIMES_IF("two or more entries were cut", count >= 2);
#pragma once

#if defined(MILLRACE_MUTANTS)

#include <atomic>
#include <cstdint>
#include <map>
#include <string>

namespace millrace {

// One place that counts; of static storage. Places of one name add up.
class CoverageCounter {
 public:
  explicit CoverageCounter(const char* name) : name_(name), next_(first_.load()) {
    while (!first_.compare_exchange_weak(next_, this)) continue;
  }
  void Add() { count_.fetch_add(1, std::memory_order_relaxed); }

  // What was reached since the process began, by name.
  static std::map<std::string, uint64_t> All() {
    std::map<std::string, uint64_t> counts;
    for (const CoverageCounter* at = first_.load(); at != nullptr; at = at->next_) {
      counts[at->name_] += at->count_.load();
    }
    return counts;
  }

 private:
  inline static std::atomic<CoverageCounter*> first_ = nullptr;
  const char* name_;
  CoverageCounter* next_;
  std::atomic<uint64_t> count_ = 0;
};

}  // namespace millrace

#define MILLRACE_SOMETIMES_IF(name, condition)         \
  do {                                                 \
    static ::millrace::CoverageCounter counter_(name); \
    if (condition) counter_.Add();                     \
  } while (false)
#else
#define MILLRACE_SOMETIMES_IF(name, condition) \
  do {                                         \
  } while (false)
#endif

#define MILLRACE_SOMETIMES(name) MILLRACE_SOMETIMES_IF(name, true)

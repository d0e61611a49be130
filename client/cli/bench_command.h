// `millrace bench produce|consume`, and `bench transaction` of bench_transaction.h.
//
// On main's thread.
#pragma once

#include <string>
#include <string_view>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/common_options.h"
#include "client/cli/histogram.h"
#include "client/cli/output.h"

namespace millrace::client::cli {

void AddBenchCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

struct BenchOptions {
  CommonOptions common;
  std::string topic;
  uint64_t record_size = 1024;  // of produce
  uint64_t records = 100000;
  double rate = 0;  // records a second, of all producers; 0: as fast as it goes
  uint32_t producers = 1;
  uint32_t linger_ms = 5;
  uint32_t memory_mb = 8;  // of unanswered records, each producer; more counts as latency
  // A value begins with when it was due, by this machine's monotonic clock.
  uint64_t keys = 0;  // that records have one of; 0: they have none
  bool is_stamped = false;
  uint64_t skipped = 0;  // records that consume reads before those that count
};

// What a stamped value begins with: so many microseconds, little-endian. Pre: it has so many bytes.
inline constexpr uint64_t kStampBytes = sizeof(uint64_t);
void Stamp(MonotonicTime time, std::string* value);
MonotonicTime StampOf(std::string_view value);

// What a run measured.
struct BenchResult {
  uint64_t records = 0;
  uint64_t bytes = 0;  // of values
  Duration elapsed{0};
  double cpu_seconds = 0;  // of this process
  Histogram latency;
  Duration longest_gap{0};  // between two acknowledgements; produce alone
};

// records_per_second, megabytes_per_second (10^6 bytes), latency_ms { p50, p99, p999, max },
// longest_gap_ms, cpu_seconds.
Json BenchToJson(const BenchResult& result);
void PrintBench(const BenchResult& result, bool is_json);
// What the process took so far, user and system.
double CpuSeconds();

// bench_produce.cc and bench_consume.cc
int BenchProduce(const BenchOptions& options);
int BenchConsume(const BenchOptions& options);

}  // namespace millrace::client::cli

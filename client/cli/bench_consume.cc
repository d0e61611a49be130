// `millrace bench consume`: reads a topic from its beginning. Where so many records never come, it
// ends once none has come for as long as --timeout says.
#include <memory>
#include <string>
#include <string_view>

#include "client/cli/bench_command.h"
#include "client/cli/connection.h"
#include "client/cli/progress.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

constexpr std::chrono::milliseconds kPollTimeout{100};

struct Now {
  MonotonicTime monotonic;
  int64_t wall_ms;
};

Result<Duration> LatencyOf(const ConsumedRecord& record, bool is_stamped, const Now& now) {
  if (!is_stamped) return Duration(std::chrono::milliseconds(now.wall_ms - record.timestamp_ms));
  const std::string_view value = record.value.value_or("");
  if (value.size() < kStampBytes) {
    return FailedPrecondition("the record at offset " + std::to_string(record.offset) +
                              " is not of bench produce --stamp");
  }
  return now.monotonic - StampOf(value);
}

Status Read(const BenchOptions& options, Consumer& consumer, const RealClock& clock,
            BenchResult* result) {
  Progress progress("bench " + options.topic, options.records, {.done = "", .records = "read"});
  MonotonicTime last_at = clock.Now();
  uint64_t to_skip = options.skipped;
  while (result->records < options.records) {
    ASSIGN_OR_RETURN(const Records records, consumer.Poll(kPollTimeout));
    if (!records.empty()) last_at = clock.Now();
    if (clock.Now() - last_at > options.common.timeout) {
      return DeadlineExceeded("topic " + options.topic + " gave " + WithThousands(result->records) +
                              " of " + WithThousands(options.records) + " records, and then none");
    }
    const Now now{.monotonic = clock.Now(), .wall_ms = clock.WallMs()};
    for (const ConsumedRecord& record : records) {
      if (result->records == options.records) break;
      if (to_skip > 0) {
        --to_skip;
        continue;
      }
      ASSIGN_OR_RETURN(const Duration latency, LatencyOf(record, options.is_stamped, now));
      ++result->records;
      result->bytes += record.value.value_or("").size();
      result->latency.Record(latency);
    }
    progress.Update(result->records, result->records, clock.Now());
  }
  progress.Finish();
  return {};
}

}  // namespace

int BenchConsume(const BenchOptions& options) {
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) -> Status {
    const RealClock clock;
    BenchResult result;
    const MonotonicTime started_at = clock.Now();
    const double cpu_before = CpuSeconds();
    ASSIGN_OR_RETURN(const std::unique_ptr<Consumer> consumer,
                     client.OpenConsumer(options.topic, {.open_timeout = options.common.timeout}));
    RETURN_IF_ERROR(Read(options, *consumer, clock, &result));
    result.elapsed = clock.Now() - started_at;
    result.cpu_seconds = CpuSeconds() - cpu_before;
    PrintBench(result, options.common.is_json());
    return {};
  });
}

}  // namespace millrace::client::cli

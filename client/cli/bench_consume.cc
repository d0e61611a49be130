// `millrace bench consume`: reads a topic from its beginning.
#include <memory>

#include "client/cli/bench_command.h"
#include "client/cli/progress.h"
#include "client/cli/reader.h"
#include "client/cli/session.h"

namespace millrace::client::cli {

int BenchConsume(const BenchOptions& options) {
  Session session(options.common);
  const Status ready = session.Init();
  if (!ready.ok()) return Fail(ready);
  Progress progress("bench " + options.topic, options.records);
  BenchResult result;
  MonotonicTime started_at{};
  int64_t now_ms = 0;
  double cpu_before = 0;
  const auto finish = [&](const Status& status) {
    if (!status.ok()) return session.EndWith(status);
    progress.Finish();
    result.elapsed = session.clock().Now() - started_at;
    result.cpu_seconds = CpuSeconds() - cpu_before;
    PrintBench(result, options.common.is_json());
    session.End(0);
  };
  Reader reader(
      session,
      {.topic = options.topic,
       .partition = {},
       .start = StartAt::Earliest(),
       .count = options.records,
       .until_end = false,
       .timeout = options.common.timeout()},
      [&](const ReadRecord& read) {
        if (result.records % 64 == 0) now_ms = session.clock().WallMs();
        ++result.records;
        result.bytes += read.record.value.value_or("").size();
        result.latency.Record(std::chrono::milliseconds(now_ms - read.timestamp_ms));
      },
      [&] { progress.Update(result.records, result.records, session.clock().Now()); }, finish);
  return session.Run([&] {
    started_at = session.clock().Now();
    cpu_before = CpuSeconds();
    reader.Start();
  });
}

}  // namespace millrace::client::cli

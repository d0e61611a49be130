#include "client/cli/bench_command.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include <sys/resource.h>

#include "client/cli/bench_transaction.h"
#include "client/cli/number.h"

namespace millrace::client::cli {
namespace {

double Milliseconds(Duration d) { return static_cast<double>(d.count()) / 1000.0; }

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

std::shared_ptr<BenchOptions> AddBench(CLI::App* command, const std::string& bootstrap) {
  auto options = std::make_shared<BenchOptions>();
  options->common.bootstrap = bootstrap;
  AddTopic(command, "--topic", &options->topic)->required();
  AddNumber(command, "--records", &options->records, {.min = 1}, "How many")->default_str("100000");
  AddCommonOptions(command, {"table", "json"}, &options->common);
  return options;
}

}  // namespace

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

Json BenchToJson(const BenchResult& result) {
  const double seconds = std::max(1e-6, static_cast<double>(result.elapsed.count()) / 1e6);
  return {{"records", result.records},
          {"seconds", seconds},
          {"records_per_second", static_cast<double>(result.records) / seconds},
          {"megabytes_per_second", static_cast<double>(result.bytes) / 1e6 / seconds},
          {"latency_ms",
           {{"p50", Milliseconds(result.latency.Quantile(0.5))},
            {"p99", Milliseconds(result.latency.Quantile(0.99))},
            {"p999", Milliseconds(result.latency.Quantile(0.999))},
            {"max", Milliseconds(result.latency.max())}}},
          {"longest_gap_ms", Milliseconds(result.longest_gap)},
          {"cpu_seconds", result.cpu_seconds}};
}

void PrintBench(const BenchResult& result, bool is_json) {
  const Json json = BenchToJson(result);
  if (is_json) return PrintJson(json);
  const Json& latency = json["latency_ms"];
  std::printf("%s records in %.2f s: %.0f records/s, %.1f MB/s\n",
              WithThousands(result.records).c_str(), json["seconds"].get<double>(),
              json["records_per_second"].get<double>(), json["megabytes_per_second"].get<double>());
  std::printf("latency ms: p50 %.2f, p99 %.2f, p999 %.2f, max %.2f; CPU of this process %.2f s\n",
              latency["p50"].get<double>(), latency["p99"].get<double>(),
              latency["p999"].get<double>(), latency["max"].get<double>(), result.cpu_seconds);
}

void Stamp(MonotonicTime time, std::string* value) {
  const auto stamp = static_cast<uint64_t>(time.count());
  std::memcpy(value->data(), &stamp, kStampBytes);
}

MonotonicTime StampOf(std::string_view value) {
  uint64_t stamp = 0;
  std::memcpy(&stamp, value.data(), kStampBytes);
  return MonotonicTime(static_cast<int64_t>(stamp));
}

void AddBenchCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* bench = app.add_subcommand("bench", "Measure throughput and latency");
  bench->require_subcommand(1);
  CLI::App* produce =
      bench->add_subcommand("produce",
                            "Latency is from sending a record, with --rate from when it was due, "
                            "to its acknowledgement");
  auto produce_options = AddBench(produce, bootstrap);
  AddNumber(produce, "--record-size", &produce_options->record_size,
            {.min = 1, .max = uint64_t{4000} << 10}, "Bytes of a record's value")
      ->default_str("1024");
  AddParsed(
      produce, "--rate",
      [rate = &produce_options->rate](std::string_view text) -> Status {
        ASSIGN_OR_RETURN(*rate, ParseDecimal(text));
        return {};
      },
      "Records a second; as fast as it goes if 0")
      ->type_name("NUMBER");
  AddNumber(produce, "--producers", &produce_options->producers, {.min = 1, .max = 1000},
            "Producers that share the load")
      ->default_str("1");
  AddNumber(produce, "--linger-ms", &produce_options->linger_ms, {.max = 10000},
            "Wait of a record for others")
      ->default_str("5");
  AddNumber(produce, "--memory-mb", &produce_options->memory_mb, {.min = 1, .max = 4096},
            "Unanswered records of a producer, in MiB")
      ->default_str("8");
  AddNumber(produce, "--keys", &produce_options->keys, {.max = 1'000'000'000},
            "Each record has one of so many keys, in no order; none if 0")
      ->default_str("0");
  produce->add_flag("--stamp", produce_options->is_stamped,
                    "Values begin with when they were due, for bench consume --stamped");
  Choose(produce, produce_options, chosen, &BenchProduce);
  CLI::App* consume = bench->add_subcommand(
      "consume", "From the beginning; latency is from the append to the arrival here");
  auto consume_options = AddBench(consume, bootstrap);
  AddNumber(consume, "--skip", &consume_options->skipped, {}, "Records to read before those")
      ->default_str("0");
  consume->add_flag("--stamped", consume_options->is_stamped,
                    "Latency is from when a record was due, as bench produce --stamp on the same "
                    "machine wrote it");
  Choose(consume, consume_options, chosen, &BenchConsume);
  AddBenchTransaction(bench, bootstrap, chosen);
}

}  // namespace millrace::client::cli

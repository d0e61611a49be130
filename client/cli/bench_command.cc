#include "client/cli/bench_command.h"

#include <algorithm>
#include <cstdio>
#include <memory>

#include <sys/resource.h>

namespace millrace::client::cli {
namespace {

double Milliseconds(Duration d) { return static_cast<double>(d.count()) / 1000.0; }

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

std::shared_ptr<BenchOptions> AddBench(CLI::App* command, const std::string& bootstrap) {
  auto options = std::make_shared<BenchOptions>();
  options->common.bootstrap = bootstrap;
  command->add_option("--topic", options->topic, "The topic")->required();
  command->add_option("--record-size", options->record_size, "Bytes of a record's value")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1000} << 10))
      ->capture_default_str();
  command->add_option("--records", options->records, "How many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
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

void AddBenchCommand(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  CLI::App* bench = app.add_subcommand("bench", "Measure throughput and latency");
  bench->require_subcommand(1);
  CLI::App* produce =
      bench->add_subcommand("produce",
                            "Latency is from sending a record, with --rate from when it was due, "
                            "to its acknowledgement");
  auto produce_options = AddBench(produce, bootstrap);
  produce->add_option("--rate", produce_options->rate, "Records a second; as fast as it goes if 0")
      ->check(CLI::NonNegativeNumber);
  produce->add_option("--producers", produce_options->producers, "Producers that share the load")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  produce->add_option("--linger-ms", produce_options->linger_ms, "Wait of a record for others")
      ->check(CLI::Range(0, 10000))
      ->capture_default_str();
  produce
      ->add_option("--memory-mb", produce_options->memory_mb,
                   "Unanswered records of a producer, in MiB")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  Choose(produce, produce_options, chosen, &BenchProduce);
  CLI::App* consume = bench->add_subcommand(
      "consume", "From the beginning; latency is from the append to the arrival here");
  Choose(consume, AddBench(consume, bootstrap), chosen, &BenchConsume);
}

}  // namespace millrace::client::cli

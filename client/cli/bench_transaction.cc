#include "client/cli/bench_transaction.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "client/cli/bench_phases.h"
#include "client/cli/common_options.h"
#include "client/cli/connection.h"
#include "client/cli/number.h"
#include "client/cli/output.h"
#include "client/cli/transaction_load.h"
#include "millrace/client.h"
#include "raft/runtime/real_clock.h"

namespace millrace::client::cli {
namespace {

using Producers = TransactionLoad::Producers;

constexpr std::chrono::milliseconds kPollTimeout{100};
// Of the records of a phase, in one more of each kind before the first that counts.
constexpr uint64_t kWarmUpShare = 10;

struct BenchTransactionOptions {
  CommonOptions common;
  std::string topic;
  uint64_t records = 100'000;  // of a phase, of all producers
  uint64_t record_bytes = 1024;
  uint64_t records_per_transaction = 1000;
  uint32_t producers = 1;
  uint32_t rounds = 5;
  uint32_t memory_mb = 8;
  bool is_read = false;
};

// A way to do the work, and what it came to.
struct Way {
  BenchPhase* phase;
  // Does it once, with so many records; adds a round to the phase that it is given.
  std::function<Status(uint64_t records, BenchPhase* phase)> run;
};

// All ways in turn, round after round, each round beginning with the next: what the machine does
// meanwhile is no way's own. A share of it goes before, for what is made once.
Status RunRounds(const BenchTransactionOptions& options, const std::vector<Way>& ways) {
  for (const Way& way : ways) {
    BenchPhase warm_up;
    RETURN_IF_ERROR(way.run(std::max<uint64_t>(1, options.records / kWarmUpShare), &warm_up));
  }
  for (size_t round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < ways.size(); ++i) {
      const Way& way = ways[(round + i) % ways.size()];
      RETURN_IF_ERROR(way.run(options.records, way.phase));
    }
  }
  return {};
}

void PrintPhases(const BenchTransactionOptions& options, const BenchPhases& phases) {
  if (!options.common.is_json()) {
    std::fputs(PhasesToText(phases).c_str(), stdout);
    return;
  }
  PrintJson({{"rounds", options.rounds},
             {"producers", options.producers},
             {"records_per_transaction", options.records_per_transaction},
             {"record_bytes", options.record_bytes},
             {"phases", PhasesToJson(phases)}});
}

// With `transactional_id` each has that and its number for an id.
Result<Producers> OpenProducers(millrace::Client& client, const BenchTransactionOptions& options,
                                const std::string& transactional_id) {
  ProducerOptions producer_options;
  producer_options.memory_bytes_max = size_t{options.memory_mb} << 20;
  producer_options.send_timeout = kLoadLookInterval;
  producer_options.open_timeout = options.common.timeout;
  Producers producers;
  for (uint32_t i = 0; i < options.producers; ++i) {
    if (!transactional_id.empty()) {
      producer_options.transactional_id = transactional_id + "-" + std::to_string(i);
    }
    ASSIGN_OR_RETURN(producers.emplace_back(),
                     client.OpenProducer(options.topic, producer_options));
  }
  return producers;
}

// Another run at the same time has others.
std::string TransactionalIdOf(const BenchTransactionOptions& options) {
  return "bench-" + options.topic.substr(0, 100) + "-" + std::to_string(RealClock().WallMs());
}

Way WayOf(const BenchTransactionOptions& options, LoadKind kind, Producers* producers,
          BenchPhase* phase) {
  const auto run = [&options, kind, producers, label = "bench " + phase->name](uint64_t records,
                                                                               BenchPhase* into) {
    return TransactionLoad({.kind = kind,
                            .label = label,
                            .records = records,
                            .record_bytes = options.record_bytes,
                            .records_per_transaction = options.records_per_transaction},
                           producers)
        .Run(into);
  };
  return {.phase = phase, .run = run};
}

Status BenchWriters(millrace::Client& client, const BenchTransactionOptions& options) {
  ASSIGN_OR_RETURN(Producers plain_ones, OpenProducers(client, options, ""));
  ASSIGN_OR_RETURN(Producers others, OpenProducers(client, options, TransactionalIdOf(options)));
  CatchSignals();
  BenchPhase plain{.name = "plain"};
  BenchPhase overlapped{.name = "overlapped"};
  BenchPhase awaited{.name = "awaited"};
  RETURN_IF_ERROR(RunRounds(options, {WayOf(options, LoadKind::kPlain, &plain_ones, &plain),
                                      WayOf(options, LoadKind::kOverlapped, &others, &overlapped),
                                      WayOf(options, LoadKind::kAwaited, &others, &awaited)}));
  PrintPhases(options, {&plain, &overlapped, &awaited});
  return {};
}

// Reads the topic from its beginning up to so many records, or its end.
Status ReadOnce(millrace::Client& client, const BenchTransactionOptions& options,
                Isolation isolation, uint64_t records, BenchPhase* phase) {
  const RealClock clock;
  const MonotonicTime started_at = clock.Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<Consumer> consumer,
                   client.OpenConsumer(options.topic, {.isolation = isolation,
                                                       .stop_at_end = true,
                                                       .open_timeout = options.common.timeout}));
  uint64_t read = 0;
  while (read < records && !consumer->at_end()) {
    ASSIGN_OR_RETURN(const Records some, consumer->Poll(kPollTimeout));
    read += some.size();
    if (IsInterrupted()) return Interrupted(WithThousands(read) + " records were read");
    RETURN_IF_ERROR(OutageOverTimeout());
  }
  const Duration elapsed = std::max(Duration(1), clock.Now() - started_at);
  phase->records += read;
  phase->records_per_second.push_back(static_cast<double>(read) * 1e6 /
                                      static_cast<double>(elapsed.count()));
  return {};
}

Status BenchReaders(millrace::Client& client, const BenchTransactionOptions& options) {
  CatchSignals();
  {
    ASSIGN_OR_RETURN(Producers producers, OpenProducers(client, options, ""));
    BenchPhase filling{.name = "filling"};
    RETURN_IF_ERROR(
        WayOf(options, LoadKind::kPlain, &producers, &filling).run(options.records, &filling));
  }
  BenchPhase uncommitted{.name = "uncommitted"};
  BenchPhase committed{.name = "committed"};
  const auto way_of = [&](Isolation isolation, BenchPhase* phase) {
    const auto run = [&client, &options, isolation](uint64_t records, BenchPhase* into) {
      return ReadOnce(client, options, isolation, records, into);
    };
    return Way{.phase = phase, .run = run};
  };
  RETURN_IF_ERROR(RunRounds(options, {way_of(Isolation::kUncommitted, &uncommitted),
                                      way_of(Isolation::kCommitted, &committed)}));
  PrintPhases(options, {&uncommitted, &committed});
  return {};
}

int Bench(const BenchTransactionOptions& options) {
  if (options.records < options.producers) {
    return FailUsage(InvalidArgument("--records is less than --producers: some would have none"));
  }
  return RunOnTopic(options.common, options.topic, [&](millrace::Client& client) {
    return options.is_read ? BenchReaders(client, options) : BenchWriters(client, options);
  });
}

}  // namespace

void AddBenchTransaction(CLI::App* bench, const std::string& bootstrap, Command* chosen) {
  auto options = std::make_shared<BenchTransactionOptions>();
  options->common.bootstrap = bootstrap;
  CLI::App* command = bench->add_subcommand(
      "transaction",
      "What transactions cost: records without, in transactions that overlap with the end of the "
      "one before, and in such that wait for it, in turn");
  AddTopic(command, "--topic", &options->topic)->required();
  AddNumber(command, "--records", &options->records, {.min = 1},
            "How many in each phase of a round")
      ->default_str("100000");
  AddNumber(command, "--records-per-transaction", &options->records_per_transaction, {.min = 1},
            "How many are committed together")
      ->default_str("1000");
  AddNumber(command, "--record-bytes", &options->record_bytes,
            {.min = 1, .max = uint64_t{4000} << 10}, "Bytes of a record's value")
      ->default_str("1024");
  AddNumber(command, "--producers", &options->producers, {.min = 1, .max = 1000},
            "Producers that share the load, each with transactions of its own")
      ->default_str("1");
  AddNumber(command, "--rounds", &options->rounds, {.min = 1, .max = 1000},
            "How often each phase has its turn; figures are medians")
      ->default_str("5");
  AddNumber(command, "--memory-mb", &options->memory_mb, {.min = 1, .max = 4096},
            "Unanswered records of a producer, in MiB")
      ->default_str("8");
  command->add_flag("--read", options->is_read,
                    "Instead: store records without transactions, and read them with and without "
                    "those that are not committed. For a topic without transactions");
  AddCommonOptions(command, {"table", "json"}, &options->common);
  Choose(command, options, chosen, &Bench);
}

}  // namespace millrace::client::cli

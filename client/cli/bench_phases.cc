#include "client/cli/bench_phases.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include <glog/logging.h>

namespace millrace::client::cli {
namespace {

double Milliseconds(Duration d) { return static_cast<double>(d.count()) / 1000.0; }

std::string WithDecimals(double number, int decimals) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f", decimals, number);
  return text.data();
}

std::string Rounded(double rate) { return WithThousands(static_cast<uint64_t>(rate + 0.5)); }

bool HasCommits(const BenchPhase* phase) { return phase->commits.count() > 0; }

double MinOf(const std::vector<double>& values) { return *std::ranges::min_element(values); }
double MaxOf(const std::vector<double>& values) { return *std::ranges::max_element(values); }

}  // namespace

double MedianOf(std::vector<double> values) {
  CHECK(!values.empty());
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double RatioOf(const BenchPhase& phase, const BenchPhase& base) {
  CHECK_EQ(phase.records_per_second.size(), base.records_per_second.size());
  std::vector<double> ratios;
  ratios.reserve(phase.records_per_second.size());
  for (size_t round = 0; round < phase.records_per_second.size(); ++round) {
    ratios.push_back(phase.records_per_second[round] / base.records_per_second[round]);
  }
  return MedianOf(std::move(ratios));
}

std::string PhasesToText(const BenchPhases& phases) {
  const bool has_commits = std::ranges::any_of(phases, HasCommits);
  std::vector<std::string> head{"PHASE", "RECORDS/S", "MIN", "MAX", "TO " + phases.front()->name};
  if (has_commits) head.insert(head.end(), {"COMMITS", "P50 MS", "P99 MS"});
  Table table(std::move(head));
  for (const BenchPhase* phase : phases) {
    std::vector<std::string> row{phase->name, Rounded(MedianOf(phase->records_per_second)),
                                 Rounded(MinOf(phase->records_per_second)),
                                 Rounded(MaxOf(phase->records_per_second)),
                                 WithDecimals(RatioOf(*phase, *phases.front()), 3)};
    if (HasCommits(phase)) {
      row.insert(row.end(), {std::to_string(phase->commits.count()),
                             WithDecimals(Milliseconds(phase->commits.Quantile(0.5)), 2),
                             WithDecimals(Milliseconds(phase->commits.Quantile(0.99)), 2)});
    } else if (has_commits) {
      row.insert(row.end(), {"-", "-", "-"});
    }
    table.Add(std::move(row));
  }
  return table.ToString();
}

Json PhasesToJson(const BenchPhases& phases) {
  Json json = Json::array();
  for (const BenchPhase* phase : phases) {
    Json row{{"phase", phase->name},
             {"records", phase->records},
             {"transactions", phase->transactions},
             {"records_per_second", MedianOf(phase->records_per_second)},
             {"records_per_second_min", MinOf(phase->records_per_second)},
             {"records_per_second_max", MaxOf(phase->records_per_second)},
             {"ratio", RatioOf(*phase, *phases.front())},
             {"commit_ms", Json()}};
    if (HasCommits(phase)) {
      row["commit_ms"] = {{"p50", Milliseconds(phase->commits.Quantile(0.5))},
                          {"p99", Milliseconds(phase->commits.Quantile(0.99))}};
    }
    json.push_back(std::move(row));
  }
  return json;
}

}  // namespace millrace::client::cli

// Holds the checker against hand-made histories, one file per anomaly, and the good ones.

#include "tests/checker/checker.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/checker/history_json.h"

namespace millrace::checker {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(MILLRACE_SOURCE_DIR) / "tests/checker/histories";

// A case of a file: comment, JSON lines, "----", what the checker says, a blank line.
struct Case {
  std::string purpose;
  std::string history;
  std::string expected;
};

std::vector<Case> ReadCases(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Case> cases;
  std::string line;
  bool is_open = false;
  bool is_expected = false;
  while (std::getline(file, line)) {
    if (line.empty()) {
      is_open = false;
      continue;
    }
    if (!is_open) {
      cases.emplace_back();
      is_open = true;
      is_expected = false;
    }
    if (line.starts_with("#")) {
      cases.back().purpose += line + "\n";
    } else if (line == "----") {
      is_expected = true;
    } else {
      (is_expected ? cases.back().expected : cases.back().history) += line + "\n";
    }
  }
  return cases;
}

std::string Answer(const std::string& text) {
  std::istringstream in(text);
  const Result<History> history = ReadHistory(in);
  if (!history.ok()) return "error: " + std::string(history.status().message()) + "\n";
  const Result<Verdict> verdict = Check(*history);
  return verdict.ok() ? verdict->Text()
                      : "error: " + std::string(verdict.status().message()) + "\n";
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
    names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class HandMadeHistory : public testing::TestWithParam<std::string> {};

TEST_P(HandMadeHistory, IsJudgedAsWritten) {
  const std::vector<Case> cases = ReadCases(kFolder / (GetParam() + ".txt"));
  ASSERT_FALSE(cases.empty());
  for (const Case& one : cases) {
    EXPECT_FALSE(one.purpose.empty()) << "a history without its reason:\n" << one.history;
    EXPECT_EQ(Answer(one.history), one.expected) << one.purpose << one.history;
  }
}

INSTANTIATE_TEST_SUITE_P(Files, HandMadeHistory, testing::ValuesIn(Names()),
                         [](const auto& file) { return file.param; });

TEST(Checker, HasABadHistory_ForEveryAnomalyThatItNames) {
  std::set<std::string> found;
  for (const std::string& name : Names()) {
    for (const Case& one : ReadCases(kFolder / (name + ".txt"))) {
      std::istringstream lines(one.expected);
      for (std::string word; lines >> word;) found.insert(word);
    }
  }
  for (int i = 0; i <= static_cast<int>(Anomaly::kReadBelowStart); ++i) {
    const std::string name(AnomalyName(static_cast<Anomaly>(i)));
    EXPECT_TRUE(found.contains(name)) << name;
  }
}

TEST(HistoryJson, ReadsBackWhatItWrote) {
  const Op op{.type = OpType::kOk,
              .kind = OpKind::kPoll,
              .process = 3,
              .time_ns = 12,
              .sends = {{.key = Key(1), .value = 5, .offset = {}},
                        {.key = Key(1), .value = 6, .offset = Offset(9)}},
              .reads = {{.key = Key(0), .offset = Offset(7), .value = 8},
                        {.key = Key(0), .offset = Offset(8), .value = {}}},
              .high_watermarks = {{.key = Key(0), .offset = Offset(9)}},
              .keys = {Key(0), Key(1)},
              .deletes = {{.key = Key(1), .before = Offset(4)}},
              .log_starts = {{.key = Key(1), .offset = Offset(4)}}};
  const Result<Op> read = ParseJsonLine(ToJsonLine(op));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(*read == op) << ToJsonLine(*read);
}

// A producer and a consumer of four partitions, everything as it should be.
History GoodHistory(uint64_t values) {
  History history;
  for (Value value = 0; value < values; ++value) {
    const Key key(static_cast<uint32_t>(value % 4));
    const Offset offset(static_cast<int64_t>(value / 4));
    const auto time = static_cast<int64_t>(3 * value);
    const Send send{.key = key, .value = value, .offset = {}};
    const Send told{.key = key, .value = value, .offset = offset};
    history.push_back({.process = 1, .time_ns = time, .sends = {send}});
    history.push_back({.type = OpType::kOk, .process = 1, .time_ns = time + 1, .sends = {told}});
    history.push_back({.type = OpType::kOk,
                       .kind = OpKind::kPoll,
                       .process = 2,
                       .time_ns = time + 2,
                       .reads = {{.key = key, .offset = offset, .value = value}},
                       .high_watermarks = {{.key = key, .offset = offset + 1}}});
  }
  return history;
}

TEST(Checker, TakesAMillionOps_AndFindsTheOneThatIsLost) {
  History history = GoodHistory(350'000);
  ASSERT_GT(history.size(), 1'000'000u);
  Result<Verdict> verdict = Check(history);
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_TRUE(verdict->is_good()) << verdict->Text();
  history[600'002].reads.clear();
  verdict = Check(history);
  ASSERT_TRUE(verdict.ok()) << verdict.status();
  EXPECT_EQ(verdict->findings.at(Anomaly::kLostWrite).count, 1u) << verdict->Text();
}

}  // namespace
}  // namespace millrace::checker

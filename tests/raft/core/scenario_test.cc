// Runs every script of tests/raft/core/scenarios.

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/raft/core/lab.h"
#include "tests/raft/core/script.h"

namespace millrace::raft::core {
namespace {

std::vector<std::string> Scenarios() {
  std::vector<std::string> names;
  const std::filesystem::path folder =
      std::filesystem::path(MILLRACE_SOURCE_DIR) / "tests/raft/core/scenarios";
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    if (file.path().extension() == ".txt") names.push_back(file.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ScenarioTest : public testing::TestWithParam<std::string> {};

TEST_P(ScenarioTest, PrintsWhatTheScriptSays) {
  Lab lab;
  RunScript(std::string(MILLRACE_SOURCE_DIR) + "/tests/raft/core/scenarios/" + GetParam() + ".txt",
            [&lab](const Command& command) { return lab.Run(command); });
}

INSTANTIATE_TEST_SUITE_P(Scripts, ScenarioTest, testing::ValuesIn(Scenarios()),
                         [](const auto& script) { return script.param; });

}  // namespace
}  // namespace millrace::raft::core

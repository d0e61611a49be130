#include "tests/simulation/regressions.h"

#include <sstream>

#include <gtest/gtest.h>

namespace millrace::sim {
namespace {

Result<std::vector<Regression>> Parse(const std::string& text, const std::string& level) {
  std::istringstream lines(text);
  return ParseRegressions(lines, level);
}

TEST(RegressionsTest, ALine_GoesToItsLevel_WithItsFlags) {
  const std::string text =
      "# level seed [flags] # why\n\ncore 7  # a vote\nbroker 5 --brokers=1 --without=kills # x\n";
  const auto core = Parse(text, "core");
  ASSERT_TRUE(core.ok()) << core.status();
  ASSERT_EQ(core->size(), 1u);
  EXPECT_EQ(core->at(0).seed, 7u);
  EXPECT_TRUE(core->at(0).flags.empty());
  const auto broker = Parse(text, "broker");
  ASSERT_TRUE(broker.ok()) << broker.status();
  ASSERT_EQ(broker->size(), 1u);
  EXPECT_EQ(broker->at(0).seed, 5u);
  EXPECT_EQ(broker->at(0).flags, (std::vector<std::string>{"--brokers=1", "--without=kills"}));
}

TEST(RegressionsTest, ALineThatNobodyWouldRun_IsAnError) {
  EXPECT_FALSE(Parse("brokers 5 # a level that there is not\n", "broker").ok());
  EXPECT_FALSE(Parse("broker five\n", "core").ok());
  EXPECT_FALSE(Parse("core\n", "broker").ok());
}

TEST(RegressionsTest, TheFile_IsReadForBothLevels) {
  EXPECT_TRUE(RegressionsOf("core").ok());
  const auto broker = RegressionsOf("broker");
  ASSERT_TRUE(broker.ok()) << broker.status();
  EXPECT_FALSE(broker->empty());
}

}  // namespace
}  // namespace millrace::sim

// The command line's grammar and its failures; what the commands do is tested against real brokers.
#include "client/cli/cli.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/common_options.h"
#include "client/cli/time_spec.h"

namespace millrace::client::cli {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int exit_code = 0;
  std::string error;
};

Outcome RunCli(std::vector<std::string> arguments, const AddCommands& add = {}) {
  arguments.insert(arguments.begin(), "millrace");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  ::testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.exit_code = Run(static_cast<int>(argv.size()), argv.data(), add);
  outcome.error = ::testing::internal::GetCapturedStderr();
  return outcome;
}

void ExpectOneLine(const Outcome& outcome, int exit_code, const std::string& text) {
  EXPECT_EQ(outcome.exit_code, exit_code);
  EXPECT_THAT(outcome.error, HasSubstr(text));
  EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
  EXPECT_TRUE(outcome.error.starts_with("error: ")) << outcome.error;
}

TEST(Cli, WrongCommandLines_FailWithOneLine) {
  ExpectOneLine(RunCli({}), 2, "subcommand");
  ExpectOneLine(RunCli({"frobnicate"}), 2, "frobnicate");
  ExpectOneLine(RunCli({"topic", "create"}), 2, "NAME");
  ExpectOneLine(RunCli({"topic", "list", "-o", "yaml"}), 2, "yaml");
  ExpectOneLine(RunCli({"bench", "produce", "--topic", "t", "--record-size", "0"}), 2, "0");
  ExpectOneLine(RunCli({"produce", "t", "--key-field", "a", "--key-separator", ","}), 2, "exclude");
}

TEST(Cli, BadValues_FailBeforeAnythingIsSent) {
  ExpectOneLine(RunCli({"topic", "list", "--bootstrap", "nowhere"}), 1, "bootstrap: ");
  ExpectOneLine(RunCli({"topic", "create", "t", "--set", "x"}), 1, "--set x is not KEY=VALUE");
  ExpectOneLine(RunCli({"consume", "t", "--from", "sometime"}), 1, "--from sometime");
  ExpectOneLine(RunCli({"produce", "t", "/no/such/file"}), 1, "/no/such/file");
}

TEST(Cli, NobodyThere_IsUnavailable_AfterTheTimeout) {
  const std::vector<std::string> nowhere = {"--bootstrap", "127.0.0.1:1", "--timeout", "0.2"};
  for (std::vector<std::string> command : {std::vector<std::string>{"topic", "list"},
                                           {"cluster", "describe"},
                                           {"consume", "t"},
                                           {"topic", "delete", "t"},
                                           {"bench", "produce", "--topic", "t"}}) {
    command.insert(command.end(), nowhere.begin(), nowhere.end());
    const Outcome outcome = RunCli(command);
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_TRUE(outcome.error.starts_with("error: UNAVAILABLE") ||
                outcome.error.starts_with("error: DEADLINE_EXCEEDED"))
        << outcome.error;
  }
}

TEST(Cli, AddedCommands_AreRun) {
  const Outcome outcome = RunCli({"server"}, [](CLI::App& app, Command* chosen) {
    app.add_subcommand("server", "Run a broker")->callback([chosen] {
      *chosen = [] { return 42; };
    });
  });
  EXPECT_EQ(outcome.exit_code, 42);
}

TEST(CommonOptions, ATimeoutIsAYearAtMost_AndAMillisecondAtLeast) {
  EXPECT_EQ(CommonOptions{.timeout_seconds = 1e300}.timeout_ms(), std::chrono::hours(365 * 24));
  EXPECT_EQ(CommonOptions{.timeout_seconds = 1.5}.timeout_ms(), std::chrono::milliseconds(1500));
  EXPECT_EQ(CommonOptions{.timeout_seconds = 1e-9}.timeout_ms(), std::chrono::milliseconds(1));
}

TEST(ParsePosition, TakesNamesOffsetsAndTimes) {
  EXPECT_EQ(ParsePosition("earliest")->kind(), Position::Kind::kEarliest);
  EXPECT_EQ(ParsePosition("latest")->kind(), Position::Kind::kLatest);
  EXPECT_EQ(ParsePosition("17")->kind(), Position::Kind::kOffset);
  EXPECT_EQ(ParsePosition("17")->value(), 17);
  EXPECT_EQ(ParsePosition("@1700000000123")->kind(), Position::Kind::kTime);
  EXPECT_EQ(ParsePosition("@1700000000123")->value(), 1700000000123);
  EXPECT_EQ(ParsePosition("2023-11-14T22:13:20Z")->value(), 1700000000000);
}

TEST(ParsePosition, RefusesTheRest_ByName) {
  for (const char* text : {"", "-1", "17x", "@", "@-1", "@1.5", "yesterday", "2023-11-14"}) {
    const Result<Position> parsed = ParsePosition(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(text));
  }
}

TEST(ParseRfc3339, KnowsZonesFractionsAndTheCalendar) {
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:00Z").value(), 0);
  EXPECT_EQ(ParseRfc3339("1970-01-01t00:00:00.25z").value(), 250);
  EXPECT_EQ(ParseRfc3339("1970-01-01 00:00:01.0019+00:00").value(), 1001);
  EXPECT_EQ(ParseRfc3339("2023-11-15T03:43:20+05:30").value(), 1700000000000);
  EXPECT_EQ(ParseRfc3339("2023-11-14T14:13:20-08:00").value(), 1700000000000);
  EXPECT_EQ(ParseRfc3339("2024-02-29T00:00:00Z").value(), 1709164800000);
  EXPECT_EQ(ParseRfc3339("2016-12-31T23:59:60Z").value(), 1483228800000);
}

TEST(ParseRfc3339, RefusesWhatIsNoTime) {
  for (const char* text :
       {"2023-02-29T00:00:00Z", "2023-13-01T00:00:00Z", "2023-01-01T24:00:00Z",
        "2023-01-01T00:60:00Z", "2023-01-01T00:00:61Z", "2023-01-01T00:00:00",
        "2023-01-01T00:00:00.Z", "2023-01-01T00:00Z", "2023-01-01T00:00:00+24:00",
        "2023-01-01T00:00:00+0100", "2023-01-01T00:00:00Zx", "1969-12-31T23:59:59Z",
        "23-01-01T00:00:00Z", "2023-1-01T00:00:00Z"}) {
    EXPECT_FALSE(ParseRfc3339(text).ok()) << text;
  }
}

}  // namespace
}  // namespace millrace::client::cli

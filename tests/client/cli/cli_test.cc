// The command line's grammar and its failures; what the commands do is tested against real brokers.
#include "client/cli/cli.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/common_options.h"
#include "client/cli/consume_command.h"

namespace millrace::client::cli {
namespace {

using ::testing::ElementsAre;
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
  ExpectOneLine(RunCli({"topic", "list", "--bootstrap", "nowhere"}), 1, "--bootstrap");
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

TEST(ParseBootstrap, TakesSeveralAddresses) {
  EXPECT_THAT(ParseBootstrap("a:1,b:2").value(), ElementsAre("a:1", "b:2"));
  EXPECT_FALSE(ParseBootstrap("a:1,").ok());
  EXPECT_FALSE(ParseBootstrap("a").ok());
}

TEST(ParseStart, TakesNamesAndOffsets) {
  EXPECT_EQ(ParseStart("latest")->kind, StartAt::kLatest);
  EXPECT_EQ(ParseStart("17")->offset, Offset(17));
  EXPECT_FALSE(ParseStart("-1").ok());
  EXPECT_FALSE(ParseStart("17x").ok());
}

}  // namespace
}  // namespace millrace::client::cli

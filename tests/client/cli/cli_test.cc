// The command line's grammar and its failures; what the commands do is tested against real brokers.
#include "client/cli/cli.h"

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "client/cli/number.h"
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
  ExpectOneLine(
      RunCli({}), 2,
      "a command is wanted: topic, produce, consume, group, transaction, partition, cluster");
  ExpectOneLine(RunCli({"topic"}), 2, "a command is wanted: create, list");
  ExpectOneLine(RunCli({"frobnicate"}), 2, "frobnicate (--help");
  ExpectOneLine(RunCli({"topic", "create"}), 2, "NAME");
  ExpectOneLine(RunCli({"topic", "list", "-o", "yaml"}), 2, "yaml");
  ExpectOneLine(RunCli({"bench", "produce", "--topic", "t", "--record-size", "0"}), 2, "0");
  ExpectOneLine(RunCli({"produce", "t", "--key-field", "a", "--key-separator", ","}), 2, "exclude");
}

// No message could carry it. What is asked of a broker that is not there would fail with 1.
TEST(Cli, NamesThatAreNotUtf8_AreErrorsOfTheCommandLine) {
  const std::string topic = "TOPIC: the topic's name is not UTF-8";
  for (const char* const action : {"alter", "config", "delete", "describe", "offsets"}) {
    ExpectOneLine(RunCli({"topic", action, "t\xff"}), 2, topic);
  }
  ExpectOneLine(RunCli({"topic", "create", "t\xc3"}), 2, "NAME: the topic's name is not UTF-8");
  ExpectOneLine(
      RunCli({"topic", "delete-records", "t\xff", "--partition", "0", "--before", "latest"}), 2,
      topic);
  ExpectOneLine(RunCli({"partition", "describe", "t\xff"}), 2, topic);
  ExpectOneLine(RunCli({"partition", "verify", "t\xff"}), 2, topic);
  for (const char* const action : {"describe", "offsets", "reset", "delete-offsets", "delete"}) {
    ExpectOneLine(RunCli({"group", action, "g\xff"}), 2, "GROUP: the group's name is not UTF-8");
  }
  ExpectOneLine(RunCli({"group", "list", "--prefix", "g\xff"}), 2, "the prefix is not UTF-8");
  for (const char* const action : {"describe", "abort"}) {
    ExpectOneLine(RunCli({"transaction", action, "t\xff"}), 2,
                  "ID: the transactional id is not UTF-8");
  }
  ExpectOneLine(RunCli({"transaction", "list", "--prefix", "\xff"}), 2, "the prefix is not UTF-8");
  ExpectOneLine(RunCli({"produce", "t\xff"}), 2, topic);
  ExpectOneLine(RunCli({"consume", "t\xff"}), 2, topic);
  ExpectOneLine(RunCli({"bench", "produce", "--topic", "t\xff"}), 2, "--topic: the topic's name");
}

TEST(Cli, SettingsThatAreNotUtf8_AreErrorsOfTheCommandLine) {
  for (const char* const action : {"create", "alter"}) {
    ExpectOneLine(RunCli({"topic", action, "t", "--set", "cleanup=\xff"}), 2,
                  "--set: the value of cleanup is not UTF-8");
    ExpectOneLine(RunCli({"topic", action, "t", "--set", "\xff=1"}), 2,
                  "--set: the key is not UTF-8");
  }
  ExpectOneLine(RunCli({"topic", "alter", "t", "--unset", "a\xff"}), 2,
                "--unset: the key is not UTF-8");
}

TEST(Cli, BadValues_FailBeforeAnythingIsSent) {
  ExpectOneLine(RunCli({"topic", "list", "--bootstrap", "nowhere"}), 2, "bootstrap: ");
  ExpectOneLine(RunCli({"topic", "create", "t", "--set", "x"}), 2, "\"x\" is not KEY=VALUE");
  ExpectOneLine(RunCli({"topic", "offsets", "t", "--at", "yesterday"}), 2, "--at: yesterday");
  ExpectOneLine(RunCli({"transaction", "list", "--open-longer-than", "soon"}), 2,
                "--open-longer-than: \"soon\" is no duration");
  ExpectOneLine(RunCli({"transaction", "list", "--state", "open"}), 2, "open");
  ExpectOneLine(RunCli({"transaction", "list", "--state", "idle", "--open-longer-than", "5s"}), 2,
                "--open-longer-than is of what is ongoing, not of what is idle");
  ExpectOneLine(RunCli({"consume", "t", "--from", "sometime"}), 2, "--from: sometime");
  ExpectOneLine(RunCli({"consume", "t", "--from", "@1700000000"}), 2, "@1700000000000");
  ExpectOneLine(RunCli({"consume", "t", "--to", "sometime"}), 2, "--to: sometime");
  ExpectOneLine(RunCli({"consume", "t", "--to", "earliest"}), 2,
                "--to: nothing is before earliest");
  ExpectOneLine(RunCli({"consume", "t", "--from", "5", "--to", "4"}), 2,
                "--to 4 is before --from 5");
  ExpectOneLine(RunCli({"consume", "t", "--from", "2023-11-14", "--to", "@1699919999999"}), 2,
                "--to @1699919999999 is before --from @1699920000000");
  ExpectOneLine(RunCli({"consume", "t", "--to", "5", "--until-end"}), 2, "exclude");
  ExpectOneLine(RunCli({"produce", "t", "/no/such/file"}), 1, "/no/such/file");
  ExpectOneLine(RunCli({"produce", "t", "-H", "a=1", "-H", "b:2"}), 2,
                "--header: \"b:2\" is not KEY=VALUE");
  ExpectOneLine(RunCli({"produce", "t", "--header", "=1"}), 2, "\"=1\" is not KEY=VALUE");
  ExpectOneLine(RunCli({"produce", "t", "--header", "\xff=1"}), 2, "UTF-8");
  ExpectOneLine(RunCli({"produce", "t", "--timestamp", "latest"}), 2, "--timestamp: latest is no");
  ExpectOneLine(RunCli({"produce", "t", "--timestamp", "@0"}), 2, "@0 is the time of records that");
}

// Which partitions and where to are said once each; what cannot be undone is not done by a script
// that does not say so.
TEST(Cli, AGroupIsReset_BySayingOnceWhichPartitions_AndOnceWhereTo) {
  const std::string which = "group reset takes --topic or --all-topics, or --from-file";
  ExpectOneLine(RunCli({"group", "reset", "g", "--to", "latest", "--yes"}), 2, which);
  ExpectOneLine(RunCli({"group", "reset", "g", "--to", "latest", "--topic", "t", "--all-topics"}),
                2, which);
  ExpectOneLine(RunCli({"group", "reset", "g", "--topic", "t", "--yes"}), 2, "takes --to");
  ExpectOneLine(RunCli({"group", "reset", "g", "--from-file", "f", "--to", "5"}), 2,
                "--from-file says which partitions and where to");
  ExpectOneLine(RunCli({"group", "reset", "g", "--topic", "t:5-3", "--to", "5"}), 2,
                "--topic: t: partitions 5-3");
  ExpectOneLine(RunCli({"group", "reset", "g", "--topic", "t", "--to", "erliest"}), 2,
                "--to: erliest is not earliest");
  ExpectOneLine(RunCli({"group", "reset", "g", "--from-file", "/no/such/file", "--yes"}), 1,
                "/no/such/file");
  ExpectOneLine(RunCli({"group", "delete-offsets", "g"}), 2, "--topic is required");
}

TEST(Cli, Numbers_AreReadWhole_OrRefusedByName) {
  const std::vector<std::vector<std::string>> commands = {
      {"produce", "t", "--partition"},
      {"consume", "t", "--partition"},
      {"consume", "t", "--count"},
      {"topic", "create", "t", "--partitions"},
      {"topic", "create", "t", "--replicas"},
      {"bench", "produce", "--topic", "t", "--records"},
      {"bench", "produce", "--topic", "t", "--record-size"},
      {"bench", "produce", "--topic", "t", "--rate"},
      {"bench", "produce", "--topic", "t", "--producers"},
      {"bench", "produce", "--topic", "t", "--linger-ms"},
      {"bench", "produce", "--topic", "t", "--memory-mb"},
      {"bench", "consume", "--topic", "t", "--records"},
      {"topic", "list", "--timeout"}};
  for (const std::vector<std::string>& command : commands) {
    for (const std::string text :
         {"", " ", "-1", "+1", "1x", "0x1", "18446744073709551616x", "nan"}) {
      std::vector<std::string> words = command;
      words.push_back(text);
      SCOPED_TRACE(command[0] + " " + command.back() + " '" + text + "'");
      ExpectOneLine(RunCli(words), 2, command.back() + ": \"" + text + "\" is no ");
    }
  }
}

TEST(Cli, NumbersOutOfRange_AreRefused) {
  ExpectOneLine(RunCli({"consume", "t", "--count", "0"}), 2, "\"0\" is no number of 1 and up");
  ExpectOneLine(RunCli({"consume", "t", "--count", "18446744073709551616"}), 2, "--count: ");
  ExpectOneLine(RunCli({"produce", "t", "--partition", "10000"}), 2, "0 to 9999");
  ExpectOneLine(RunCli({"produce", "t", "--partition", "0", "--expect-end", "-1"}), 2, "-1");
  ExpectOneLine(RunCli({"produce", "t", "--expect-end", "0"}), 2, "--partition");
  ExpectOneLine(RunCli({"topic", "create", "t", "--partitions", "0"}), 2, "1 to 10000");
  ExpectOneLine(RunCli({"topic", "list", "--timeout", "0"}), 2, "\"0\" is no duration");
}

TEST(Cli, OutputThatCannotBeWritten_IsAnError) {
  for (const std::vector<std::string>& command : {std::vector<std::string>{"--help"},
                                                  {"completion", "bash"},
                                                  {"topic", "create", "--help"}}) {
    std::fflush(stdout);
    const int kept = dup(STDOUT_FILENO);
    const int full = open("/dev/full", O_WRONLY);
    dup2(full, STDOUT_FILENO);
    const Outcome outcome = RunCli(command);
    dup2(kept, STDOUT_FILENO);
    close(full);
    close(kept);
    std::clearerr(stdout);
    ExpectOneLine(outcome, 1, "cannot write to stdout");
  }
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

TEST(Cli, MistypedCommands_AreNamed_WithWhatMayBeMeant) {
  ExpectOneLine(RunCli({"topc", "list"}), 2, "there is no command topc; did you mean topic?");
  ExpectOneLine(RunCli({"consum"}), 2, "there is no command consum; did you mean consume?");
  ExpectOneLine(RunCli({"topic", "creat", "t"}), 2,
                "there is no command creat of millrace topic; did you mean create?");
  ExpectOneLine(RunCli({"cluster", "list"}), 2, "there is no command list of millrace cluster (");
  ExpectOneLine(RunCli({"help", "topic", "crate"}), 2, "did you mean create?");
}

TEST(Cli, MistypedOptions_AreNamed_WithWhatMayBeMeant) {
  const std::string form = "there is no option --form of millrace consume; did you mean --from?";
  ExpectOneLine(RunCli({"consume", "t", "--form", "earliest"}), 2, form);
  ExpectOneLine(RunCli({"consume", "t", "--form=3"}), 2, form);
  ExpectOneLine(RunCli({"consume", "t", "--partition", "1", "--form"}), 2, form);
  ExpectOneLine(RunCli({"topic", "create", "t", "--partition", "3"}), 2, "mean --partitions?");
  ExpectOneLine(RunCli({"topic", "list", "--frobnicate"}), 2,
                "--frobnicate of millrace topic list (");
  ExpectOneLine(RunCli({"topic", "list", "-x"}), 2, "there is no option -x of millrace topic list");
  ExpectOneLine(RunCli({"topic", "list", "---"}), 2,
                "there is no option --- of millrace topic list");
}

TEST(Cli, OptionsBeforeTheirCommand_AreSentBehindIt) {
  ExpectOneLine(RunCli({"--bootstrap", "127.0.0.1:1", "topic", "list"}), 2,
                "--bootstrap stands behind the command");
  ExpectOneLine(RunCli({"topic", "--timeout=3", "list"}), 2, "--timeout stands behind");
}

TEST(Cli, ArgumentsTooMany_AreNamed) {
  ExpectOneLine(RunCli({"consume", "a", "b", "c"}), 2,
                "\"b\" is one argument too many for millrace consume");
  ExpectOneLine(RunCli({"topic", "list", "-o", "json", "x"}), 2, "\"x\" is one argument too many");
  ExpectOneLine(RunCli({"topic", "create", "t", "--set", "a=1", "b=2"}), 2, "\"b=2\" is one");
  ExpectOneLine(RunCli({"version", "x"}), 2, "\"x\" is one argument too many");
}

TEST(Cli, Help_IsGivenHoweverItIsAskedFor) {
  const auto printed = [](const std::vector<std::string>& words) {
    ::testing::internal::CaptureStdout();
    EXPECT_EQ(RunCli(words).exit_code, 0) << words.front();
    return ::testing::internal::GetCapturedStdout();
  };
  const std::string help = printed({"--help"});
  EXPECT_THAT(help, HasSubstr("consume"));
  EXPECT_EQ(printed({"help"}), help);
  EXPECT_EQ(printed({"-h"}), help);
  const std::string of_create = printed({"topic", "create", "--help"});
  EXPECT_THAT(of_create, HasSubstr("--partitions"));
  EXPECT_EQ(printed({"help", "topic", "create"}), of_create);
  EXPECT_THAT(printed({"help", "topic"}), HasSubstr("describe"));
  EXPECT_THAT(printed({"help", "help"}), HasSubstr("COMMAND"));
}

TEST(Cli, Version_IsGivenHoweverItIsAskedFor) {
  for (const char* word : {"version", "--version", "-v"}) {
    ::testing::internal::CaptureStdout();
    const Outcome outcome = RunCli(
        {word}, [](CLI::App& app, Command*) { app.set_version_flag("-v,--version", "1.2.3"); });
    EXPECT_EQ(outcome.exit_code, 0) << word;
    EXPECT_EQ(::testing::internal::GetCapturedStdout(), "1.2.3\n") << word;
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

TEST(ParseDuration, TakesUnits_AndSecondsWithout_FromAMillisecondToAYear) {
  using namespace std::chrono_literals;
  EXPECT_EQ(ParseDuration("5").value(), 5s);
  EXPECT_EQ(ParseDuration("1.5").value(), 1500ms);
  EXPECT_EQ(ParseDuration("5s").value(), 5s);
  EXPECT_EQ(ParseDuration("500ms").value(), 500ms);
  EXPECT_EQ(ParseDuration("2m").value(), 2min);
  EXPECT_EQ(ParseDuration("8760h").value(), 8760h);
  EXPECT_EQ(ParseDuration("365d").value(), 8760h);
  for (const char* text :
       {"", "s", "0", "0ms", "8761h", "1e9", "-1s", "5 s", "5w", "366d", "inf", "1e300"}) {
    const Result<std::chrono::milliseconds> parsed = ParseDuration(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(text));
  }
}

constexpr int64_t kNowMs = 1700000000000;  // 2023-11-14T22:13:20Z

TEST(ParsePosition, TakesNamesOffsetsAndTimes) {
  EXPECT_EQ(ParsePosition("earliest", kNowMs)->kind(), Position::Kind::kEarliest);
  EXPECT_EQ(ParsePosition("latest", kNowMs)->kind(), Position::Kind::kLatest);
  EXPECT_EQ(ParsePosition("17", kNowMs)->kind(), Position::Kind::kOffset);
  EXPECT_EQ(ParsePosition("17", kNowMs)->value(), 17);
  const struct {
    const char* text;
    int64_t time_ms;
  } times[] = {{"@1700000000123", 1700000000123}, {"2023-11-14T22:13:20Z", 1700000000000},
               {"2023-11-14", 1699920000000},     {"1970-01-01", 0},
               {"-1h", kNowMs - 3'600'000},       {"-30m", kNowMs - 1'800'000},
               {"2d", kNowMs - 172'800'000},      {"-1.5s", kNowMs - 1500},
               {"-250ms", kNowMs - 250}};
  for (const auto& [text, time_ms] : times) {
    const Result<Position> position = ParsePosition(text, kNowMs);
    ASSERT_TRUE(position.ok()) << position.status();
    EXPECT_EQ(position->kind(), Position::Kind::kTime) << text;
    EXPECT_EQ(position->value(), time_ms) << text;
    EXPECT_EQ(ParseTime(text, kNowMs).value(), time_ms) << text;
  }
}

TEST(ParsePosition, RefusesTheRest_ByName) {
  for (const char* text : {"",
                           "-1",
                           "17x",
                           "@",
                           "@-1",
                           "@1.5",
                           "@1700000000",
                           "yesterday",
                           "-",
                           "-h",
                           "h",
                           "--1h",
                           "+1h",
                           "- 1h",
                           "-1 h",
                           "-1w",
                           "-366d",
                           "0h",
                           "-1h30m",
                           "1d ago",
                           "2023-11-31",
                           "2023-13-01",
                           "2023-1-1",
                           "2023/11/14",
                           "2023-11-14Z",
                           "2023-11-14T",
                           "1969-12-31"}) {
    const Result<Position> parsed = ParsePosition(text, kNowMs);
    ASSERT_FALSE(parsed.ok()) << text;
    const std::string bare = text[0] == '-' ? text + 1 : text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(bare));
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

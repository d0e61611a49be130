#include "client/cli/cli.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <vector>

#include "client/cli/bench_command.h"
#include "client/cli/cluster_command.h"
#include "client/cli/command_line.h"
#include "client/cli/common_options.h"
#include "client/cli/completion_command.h"
#include "client/cli/config_command.h"
#include "client/cli/consume_command.h"
#include "client/cli/group_command.h"
#include "client/cli/output.h"
#include "client/cli/partition_command.h"
#include "client/cli/produce_command.h"
#include "client/cli/topic_command.h"
#include "client/cli/transaction_command.h"

namespace millrace::client::cli {
namespace {

constexpr char kBootstrapVariable[] = "MILLRACE_BOOTSTRAP";
constexpr char kBootstrapDefault[] = "127.0.0.1:7440";
constexpr char kHelp[] = "help";
constexpr char kVersion[] = "version";

std::string BootstrapFromEnvironment() {
  const char* value = std::getenv(kBootstrapVariable);
  return value != nullptr && *value != '\0' ? value : kBootstrapDefault;
}

// `help` and `version` are asked for as elsewhere: "help topic create" is "topic create --help".
// What AddHelp adds is there to be listed and completed.
std::vector<std::string> WithHelpAsOption(std::vector<std::string> words) {
  if (words.empty()) return words;
  if (words.front() == kHelp) {
    words.erase(words.begin());
    words.push_back("--help");
  } else if (words.front() == kVersion && words.size() == 1) {
    words.front() = "--version";
  }
  return words;
}

void AddHelp(CLI::App& app) {
  app.add_subcommand(kHelp, "Print what a command does and takes, as its --help")
      ->add_option("COMMAND", "The command; all of them if there is none")
      ->expected(0, -1);
  app.add_subcommand(kVersion, "Print the version, as --version");
}

}  // namespace

void AddClientCommands(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  AddTopicCommand(app, bootstrap, chosen);
  AddProduceCommand(app, bootstrap, chosen);
  AddConsumeCommand(app, bootstrap, chosen);
  AddGroupCommand(app, bootstrap, chosen);
  AddTransactionCommand(app, bootstrap, chosen);
  AddPartitionCommand(app, bootstrap, chosen);
  AddClusterCommand(app, bootstrap, chosen);
  AddConfigCommand(app, bootstrap, chosen);
  AddBenchCommand(app, bootstrap, chosen);
  AddCompletionCommand(app, chosen);
}

namespace {

int ParseAndRun(int argc, char** argv, const AddCommands& add_commands) {
  CLI::App app("Millrace: an event streaming platform in one binary", "millrace");
  app.require_subcommand(1);
  Command chosen;
  if (add_commands) add_commands(app, &chosen);
  AddClientCommands(app, BootstrapFromEnvironment(), &chosen);
  AddHelp(app);
  std::vector<std::string> words = WithHelpAsOption({argv + 1, argv + argc});
  if (const std::optional<std::string> mistake = FindMistake(app, words)) {
    PrintError(*mistake + " (--help tells more)");
    return kExitUsage;
  }
  std::reverse(words.begin(), words.end());  // as parse wants them
  try {
    app.parse(words);
  } catch (const CLI::Success& success) {  // --help
    return app.exit(success);
  } catch (const CLI::RequiredError& error) {
    const bool is_command =
        std::string_view(error.what()).find("subcommand") != std::string_view::npos;
    PrintError((is_command ? CommandWanted(app) : error.what()) + " (--help tells more)");
    return kExitUsage;
  } catch (const CLI::ParseError& error) {
    PrintError(std::string(error.what()) + " (--help tells more)");
    return kExitUsage;
  }
  return chosen ? chosen() : kExitUsage;
}

}  // namespace

int Run(int argc, char** argv, const AddCommands& add_commands) {
  return FinishOutput(ParseAndRun(argc, argv, add_commands));
}

}  // namespace millrace::client::cli

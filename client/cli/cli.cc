#include "client/cli/cli.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

#include "client/cli/bench_command.h"
#include "client/cli/cluster_command.h"
#include "client/cli/common_options.h"
#include "client/cli/completion_command.h"
#include "client/cli/consume_command.h"
#include "client/cli/output.h"
#include "client/cli/produce_command.h"
#include "client/cli/topic_command.h"

namespace millrace::client::cli {
namespace {

constexpr char kBootstrapVariable[] = "MILLRACE_BOOTSTRAP";
constexpr char kBootstrapDefault[] = "127.0.0.1:7440";

std::string BootstrapFromEnvironment() {
  const char* value = std::getenv(kBootstrapVariable);
  return value != nullptr && *value != '\0' ? value : kBootstrapDefault;
}

std::vector<std::string> CommandsOf(CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    names.push_back(command->get_name());
  }
  return names;
}

// How many characters have to be added, dropped or changed to make one of the other.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// What is wrong with the first word that names no command of `app`, and which one may be meant.
std::string NoSuchCommand(CLI::App& app, const std::string& word) {
  constexpr size_t kSlipsMax = 2;
  const std::vector<std::string> names = CommandsOf(app);
  const auto nearest = std::min_element(
      names.begin(), names.end(),
      [&](const auto& a, const auto& b) { return EditDistance(a, word) < EditDistance(b, word); });
  std::string message = "there is no command " + word;
  if (nearest != names.end() && EditDistance(*nearest, word) <= kSlipsMax) {
    message += "; " + *nearest + " is meant?";
  }
  return message;
}

// That the line ends where a command is wanted; names those that there are.
std::string CommandWanted(CLI::App& app) {
  CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  std::string names;
  for (const std::string& name : CommandsOf(*at)) names += (names.empty() ? "" : ", ") + name;
  return "a command is wanted: " + names;
}

}  // namespace

void AddClientCommands(CLI::App& app, const std::string& bootstrap, Command* chosen) {
  AddTopicCommand(app, bootstrap, chosen);
  AddProduceCommand(app, bootstrap, chosen);
  AddConsumeCommand(app, bootstrap, chosen);
  AddClusterCommand(app, bootstrap, chosen);
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
  std::vector<std::string> words(argv + 1, argv + argc);
  // As they are asked for elsewhere.
  if (words.size() == 1 && (words[0] == "help" || words[0] == "version")) words[0].insert(0, "--");
  const std::vector<std::string> commands = CommandsOf(app);
  if (!words.empty() && !words[0].starts_with('-') &&
      std::find(commands.begin(), commands.end(), words[0]) == commands.end()) {
    PrintError(NoSuchCommand(app, words[0]) + " (--help tells more)");
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

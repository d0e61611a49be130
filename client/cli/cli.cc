#include "client/cli/cli.h"

#include <algorithm>
#include <cstdlib>
#include <memory>

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

bool HasCommand(CLI::App& app, const std::string& name) {
  const auto all = app.get_subcommands([](CLI::App*) { return true; });
  return std::any_of(all.begin(), all.end(),
                     [&](CLI::App* command) { return command->get_name() == name; });
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
  if (argc > 1 && argv[1][0] != '-' && !HasCommand(app, argv[1])) {
    PrintError("there is no command " + std::string(argv[1]) + " (--help tells more)");
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help
    return app.exit(success);
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

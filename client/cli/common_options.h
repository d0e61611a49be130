// The options that every client command has, and where they are parsed.
//
// On main's thread.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

struct CommonOptions {
  std::string bootstrap;
  std::string output;
  std::chrono::milliseconds timeout{30'000};
  bool has_timeout = false;  // it was given

  bool is_json() const { return output == "json"; }
};

// Adds --bootstrap, --timeout and -o with the `formats`, of which the first is the default.
void AddCommonOptions(CLI::App* command, const std::vector<std::string>& formats,
                      CommonOptions* options);

// Adds the argument, or the option, that names a topic. What is no UTF-8 is an error of the command
// line: no message could carry it.
CLI::Option* AddTopic(CLI::App* command, const std::string& name, std::string* topic);

// Adds the argument GROUP. Likewise.
CLI::Option* AddGroup(CLI::App* command, std::string* group);

// Adds the argument ID, a transactional id. Likewise.
CLI::Option* AddTransactionalId(CLI::App* command, std::string* id);

// INVALID_ARGUMENT, in which the text is called `what`, if it is no UTF-8.
Status CheckUtf8(const std::string& what, std::string_view text);

// "KEY=VALUE", taken apart at the first "=". INVALID_ARGUMENT naming the text if there is none, or
// no key before it.
Result<std::pair<std::string, std::string>> ParseKeyValue(const std::string& text);

// Adds an option that may be given several times, each time with a text that goes to `add`; what
// that refuses is an error of the command line.
CLI::Option* AddRepeated(CLI::App* command, const std::string& name,
                         const std::function<Status(const std::string& text)>& add,
                         const std::string& help);

// Makes the subcommand's callback choose `run` with the options as they are after parsing.
template <typename Options>
void Choose(CLI::App* command, const std::shared_ptr<Options>& options, Command* chosen,
            int (*run)(const Options&)) {
  command->callback([options, chosen, run] { *chosen = [options, run] { return run(*options); }; });
}

}  // namespace millrace::client::cli

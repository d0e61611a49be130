// `millrace completion bash|zsh|fish`: prints a script that completes this command line, made from
// the command line's own description, so that it knows every command and option.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

// Describes `app` as it is when the command runs: all of it.
void AddCompletionCommand(CLI::App& app, Command* chosen);

std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);
std::string FishCompletion(const CLI::App& app);

}  // namespace millrace::client::cli

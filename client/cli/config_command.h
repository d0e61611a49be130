// `millrace config list`.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

void AddConfigCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli

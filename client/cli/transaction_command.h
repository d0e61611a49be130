// `millrace transaction list|describe|abort`.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

void AddTransactionCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli

// `millrace group list|describe|offsets|reset|delete-offsets|delete`.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

void AddGroupCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli

// `millrace topic delete-records`: deletes a partition's oldest records.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

void AddDeleteRecords(CLI::App* topic, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli

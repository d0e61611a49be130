// `millrace bench transaction`: what transactions cost who writes, or, with --read, who reads where
// there are none. The ways to do the same take turns in one run against one cluster.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"

namespace millrace::client::cli {

void AddBenchTransaction(CLI::App* bench, const std::string& bootstrap, Command* chosen);

}  // namespace millrace::client::cli

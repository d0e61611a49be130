// `millrace consume TOPIC`.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cpp/consumer.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

void AddConsumeCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

// "earliest", "latest" or an offset. INVALID_ARGUMENT naming the text.
Result<StartAt> ParseStart(const std::string& text);

}  // namespace millrace::client::cli

// `millrace topic create|list|describe|offsets|alter|config|delete-records|delete`.
//
// On main's thread.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/admin.h"

namespace millrace::client::cli {

void AddTopicCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

// A topic as -o json prints it. Offsets are added where `offsets` has them.
Json TopicToJson(const TopicDescription& topic, const std::vector<OffsetRange>& offsets);

}  // namespace millrace::client::cli

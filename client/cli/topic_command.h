// `millrace topic create|list|describe|delete`.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/metadata_service.pb.h"

namespace millrace::client::cli {

void AddTopicCommand(CLI::App& app, const std::string& bootstrap, Command* chosen);

// A topic as -o json prints it. Offsets are added where `offsets` has them; it may be null.
Json TopicToJson(const v1::Topic& topic, const v1::ListOffsetsResponse* offsets);

}  // namespace millrace::client::cli

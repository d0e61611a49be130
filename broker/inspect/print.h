// What was found in a data directory, as a table for people and as JSON for programs. docs/cli.md
// has the fields.
//
// Pure; any thread.
#pragma once

#include <string>

#include "broker/inspect/report.h"
#include "client/cli/output.h"

namespace millrace::broker {

std::string ToText(const std::string& directory, const Report& report);
client::cli::Json ToJson(const std::string& directory, const Report& report);

}  // namespace millrace::broker

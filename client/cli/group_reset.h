// `millrace group reset`: moves a group to other offsets.
//
// On main's thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/groups.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

void AddGroupReset(CLI::App* group, const std::string& bootstrap, Command* chosen);

// Sets where to: +N or -N, records on or back; a position as --from takes it else. INVALID_ARGUMENT
// naming the text.
Status ParseTarget(std::string_view text, int64_t now_ms, GroupReset* reset);

// As the command prints them.
std::string MovedToText(const std::vector<MovedOffset>& moved);
Json MovedToJson(const std::string& group, const std::vector<MovedOffset>& moved, bool is_dry_run);

}  // namespace millrace::client::cli

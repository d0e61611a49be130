// `millrace group describe` and `group members`: in what state a group is, who its members are,
// what each has, and what happened to them.
//
// On main's thread.
#pragma once

#include <string>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/groups.h"

namespace millrace::client::cli {

const char* NameOf(GroupState state);
Json GroupToJson(const GroupListing& group);

// "describe" and "members".
void AddGroupDescription(CLI::App* group, const std::string& bootstrap, Command* chosen);

// As the commands print them. What a group's state is, a line for what nobody has, and the last
// events.
std::string GroupToText(const GroupDescription& group);
Json GroupToJson(const GroupDescription& group);
// A row for each member, the partitions as "flights:0-2,5", with those that it is to give up.
std::string MembersToText(const GroupDescription& group);
Json MembersToJson(const GroupDescription& group);

}  // namespace millrace::client::cli

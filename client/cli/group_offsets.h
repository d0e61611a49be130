// `millrace group offsets`: how far a group is, in each partition. And that as JSON, from which
// `group reset --from-file` reads where a group was.
//
// On main's thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "client/cli/cli.h"
#include "client/cli/output.h"
#include "millrace/groups.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

void AddGroupOffsets(CLI::App* group, const std::string& bootstrap, Command* chosen);

// As the command prints them: a table, and a line for each partition of which records were lost to
// the group, or of which it is not known where it ends.
// `lag`: of the same partitions how old the first record is that is not read, and who has them.
std::string GroupOffsetsToText(const std::vector<GroupOffset>& offsets, const GroupLag& lag);
Json GroupOffsetsToJson(const std::string& group, const std::vector<GroupOffset>& offsets,
                        const GroupLag& lag);

// The rows of that JSON which have a committed offset; no other of their fields than `topic`,
// `partition` and `committed_offset` is looked at. INVALID_ARGUMENT saying what is wrong.
Result<std::vector<OffsetCommit>> ParseCommittedOffsets(std::string_view json);

}  // namespace millrace::client::cli

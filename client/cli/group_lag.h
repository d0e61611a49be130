// How far a group is behind and what to think of it, as `millrace group describe` and `group
// offsets` print it.
//
// Pure.
#pragma once

#include <chrono>
#include <string>

#include "client/cli/output.h"
#include "millrace/groups.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

// "keeping up".
const char* NameOf(LagVerdict verdict);

// "41 s", "<= 41 s" where it may be less, "0 s": of how old the first record is that is not read.
std::string LagTimeToText(std::chrono::milliseconds min, std::chrono::milliseconds max);

// The verdict, what it rests on, and the worst partitions that do not keep up; or why nothing is
// known.
std::string LagToText(const Result<GroupLag>& lag);
// The same as fields of `json`, with all partitions.
void AddLag(const Result<GroupLag>& lag, Json* json);

}  // namespace millrace::client::cli

// `consume --group`: prints what a member of the group gets, and commits what stdout has taken,
// each second, before a partition goes to somebody else, and at the end.
//
// On main's thread.
//
//   return ConsumeInGroup(client, {.topic = "orders", .group = "billing"}, &lines);
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/record_lines.h"
#include "millrace/client.h"
#include "proto/base/status.h"

namespace millrace::client::cli {

struct GroupConsumption {
  std::string topic;
  std::string group;
  std::string instance_id;  // empty: none
  Position from = Position::Earliest();
  OffsetReset reset = OffsetReset::kFail;
  Isolation isolation = Isolation::kCommitted;
  std::optional<uint64_t> count;
  // For the topic to be found, and for the last commit and the leave.
  std::chrono::milliseconds timeout{0};
  // An outage that lasts as long as that is an error, though the command has no end.
  bool has_timeout = false;
};

// Until there are as many records as wanted, or someone interrupts, which is an error unless it is
// the only end that there is. NOT_FOUND (UNKNOWN_TOPIC).
Status ConsumeInGroup(millrace::Client& client, const GroupConsumption& options,
                      RecordLines* lines);

}  // namespace millrace::client::cli

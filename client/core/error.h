// Errors as brokers send them, back into Status: millrace.v1.Error inside streams, and
// google.rpc.Status in the trailer of calls that end with an error.
//
// Pure; any thread.
//
//   if (result.has_error()) return FromError(result.error());
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "millrace/v1/error.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::client {

// Never ok: an error without a code is UNKNOWN.
Status FromError(const v1::Error& error);

// From the code and message of a call's end and its `grpc-status-details-bin` trailer, which may be
// empty or garbage: then code and message are all there is. Pre: code != 0.
Status FromRpcStatus(int code, std::string message, std::string_view details);

// The leader that a NOT_LEADER error names, if it names one.
struct LeaderHint {
  BrokerId broker;
  Term epoch;
  std::string address;  // may be empty
};
std::optional<LeaderHint> LeaderHintOf(const Status& status);
// Where the log starts, as OFFSET_OUT_OF_RANGE says it.
std::optional<Offset> LogStartOf(const Status& status);
// Where the log ends, as OFFSET_MOVED says it.
std::optional<Offset> MovedEndOf(const Status& status);

}  // namespace millrace::client

// Errors that no broker made but gRPC did: a connection that cannot be made or broke, a time that
// was over. gRPC's own words are long and name no call, or nothing at all; these name the address.
//
// Pure; any thread.
//
//   if (status.error_details().empty()) return TransportError(code, message, target);
#pragma once

#include <string>
#include <string_view>

#include "proto/base/status.h"
#include "raft/runtime/clock.h"

namespace millrace::client {

struct RpcTarget {
  std::string address;  // HOST:PORT
  std::string method;   // "/millrace.v1.AdminService/CreateTopic"
  Duration timeout{};   // zero: none
};

// Pre: code != 0.
Status TransportError(int code, const std::string& message, const RpcTarget& target);

// Whether nobody listens at the address.
bool IsConnectionRefused(const Status& error);
// Whether who answered does not know the method: most likely it is no broker. A broker that does
// not know what a request asks for says so itself.
bool IsForeign(const Status& error);

}  // namespace millrace::client

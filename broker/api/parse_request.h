// A request as the message that it should be.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(auto request, ParseRequest<v1::ListTopicsRequest>(call.request()));
#pragma once

#include <string>

#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

// INVALID_ARGUMENT, naming the message, if the bytes are none.
template <typename Request>
Result<Request> ParseRequest(const Bytes& bytes) {
  Request request;
  if (request.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return request;
  return InvalidArgument("the message is not a valid " +
                         std::string(Request::descriptor()->name()));
}

}  // namespace millrace::broker

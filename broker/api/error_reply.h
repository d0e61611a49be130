// A Status as the public API says it: v1::Error in streams that go on, and its parts for the
// trailers of calls that end (broker/edge/status_map.h packs those). docs/errors.md lists the codes
// and reasons.
//
// Pure; any thread.
//
//   ToError(outcome.status(), result.mutable_error());
#pragma once

#include <string>
#include <string_view>

#include "millrace/v1/error.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

// The domain of every ErrorInfo.
inline constexpr char kErrorDomain[] = "millrace";

// Fills `error` from scratch. Pre: `status` is not ok.
void ToError(const Status& status, v1::Error* error);

// The parts. ErrorInfo.reason is the code's name where there is no finer reason.
v1::ErrorInfo ToErrorInfo(const Status& status);
// Pre: status.retry_after_ms().
v1::RetryInfo ToRetryInfo(const Status& status);

// `text` fit for a protobuf string and an HTTP/2 trailer: what is not UTF-8 becomes '?', and what
// is past 1 KiB is cut. (A name in an error may be whatever bytes a client sent.)
std::string ErrorText(std::string_view text);

}  // namespace millrace::broker

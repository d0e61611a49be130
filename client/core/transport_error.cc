#include "client/core/transport_error.h"

#include <chrono>

#include "client/core/error.h"

namespace millrace::client {
namespace {

// What gRPC says of a connection that it could not make, before the reason.
constexpr std::string_view kNotConnected[] = {"failed to connect to all addresses",
                                              "connections to all backends failing",
                                              "DNS resolution failed"};
constexpr std::string_view kRefused = ": Connection refused";
constexpr std::string_view kForeign = ": is a Millrace broker there?";

bool IsNotConnected(std::string_view message) {
  for (const std::string_view words : kNotConnected) {
    if (message.starts_with(words)) return true;
  }
  return false;
}

}  // namespace

Status TransportError(int code, const std::string& message, const RpcTarget& target) {
  const Status plain = FromRpcStatus(code, message, "");
  if (plain.code() == Code::kUnavailable && IsNotConnected(message)) {
    const size_t reason = message.rfind(": ");  // what comes before says the same at length
    return Unavailable("cannot connect to " + target.address +
                       (reason == std::string::npos ? "" : message.substr(reason)));
  }
  const std::string method = target.method.substr(target.method.rfind('/') + 1);
  if (plain.code() == Code::kDeadlineExceeded) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(target.timeout);
    return DeadlineExceeded(target.address + " has not answered " + method + " within " +
                            std::to_string(ms.count()) + " ms");
  }
  if (plain.code() == Code::kUnimplemented) {
    return Unimplemented(target.address + " does not know " + method + std::string(kForeign));
  }
  return plain.With(target.address);
}

bool IsConnectionRefused(const Status& error) {
  return error.code() == Code::kUnavailable && error.message().ends_with(kRefused);
}

bool IsForeign(const Status& error) {
  return error.code() == Code::kUnimplemented && error.message().ends_with(kForeign);
}

}  // namespace millrace::client

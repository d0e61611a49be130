#include "broker/edge/caller.h"

#include <string>
#include <string_view>

#include <grpc/support/time.h>

namespace millrace::broker::edge {
namespace {

// gRPC writes an IPv6 peer as "ipv6:%5B::1%5D:4321".
std::string WithoutEscapes(std::string text) {
  constexpr std::pair<std::string_view, std::string_view> kEscapes[] = {{"%5B", "["}, {"%5D", "]"}};
  for (const auto& [escape, character] : kEscapes) {
    const size_t at = text.find(escape);
    if (at != std::string::npos) text.replace(at, escape.size(), character);
  }
  return text;
}

}  // namespace

Principal CallerOf(const grpc::ServerContext& context) {
  const std::string peer = context.peer();
  const size_t colon = peer.find(':');
  const std::string address = colon == std::string::npos ? peer : peer.substr(colon + 1);
  return {.peer_address = WithoutEscapes(address)};
}

MonotonicTime DeadlineOf(const grpc::ServerContext& context, const Clock& clock) {
  const gpr_timespec deadline = context.raw_deadline();
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) return MonotonicTime::max();
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  return clock.Now() + std::chrono::milliseconds(gpr_time_to_millis(left));
}

}  // namespace millrace::broker::edge

#include "broker/edge/address_limits.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include <glog/logging.h>
#include <netinet/in.h>

namespace millrace::broker::edge {
namespace {

// One address may have this part of what all together may have: a quarter.
constexpr uint64_t kShareOfOne = 4;
constexpr size_t kIpv6NetworkBytes = 8;

uint64_t ShareOf(uint64_t all) { return std::max<uint64_t>(1, all / kShareOfOne); }

template <typename Address>
Address As(const sockaddr_storage& peer) {
  static_assert(sizeof(Address) <= sizeof(sockaddr_storage));
  Address address;
  std::memcpy(&address, &peer, sizeof(address));
  return address;
}

}  // namespace

ClientAddress ClientAddress::Of(const sockaddr_storage& peer) {
  if (peer.ss_family == AF_INET) {
    const in_addr address = As<sockaddr_in>(peer).sin_addr;
    std::string network(sizeof(address), '\0');
    std::memcpy(network.data(), &address, sizeof(address));
    return {.network = network, .is_loopback = network.front() == 127};
  }
  if (peer.ss_family == AF_INET6) {
    const in6_addr address = As<sockaddr_in6>(peer).sin6_addr;
    std::string network(kIpv6NetworkBytes, '\0');
    std::memcpy(network.data(), &address, network.size());
    return {.network = network,
            .is_loopback = std::memcmp(&address, &in6addr_loopback, sizeof(address)) == 0};
  }
  return {};
}

AddressLimits::AddressLimits(const Options& options)
    : options_(options),
      all_(options.accepts_per_second_max, options.accepts_at_once_max, MonotonicTime(0)) {
  CHECK_GE(options.connections_max, 1u);
  CHECK_GE(options.accepts_per_second_max, 1u);
  CHECK_GE(options.accepts_at_once_max, 1u);
}

void AddressLimits::Allowance::Refill(MonotonicTime now) {
  const double seconds = std::chrono::duration<double>(now - as_of_).count();
  left_ = std::min(most_, left_ + seconds * per_second_);
  as_of_ = now;
}

AddressLimits::Verdict AddressLimits::Admit(const ClientAddress& address, MonotonicTime now) {
  if (address.is_loopback && options_.is_loopback_exempt) return Verdict::kAdmitted;
  all_.Refill(now);
  auto found = counts_.find(address.network);
  if (found == counts_.end()) {
    // Not even remembered past the bound for all: a flood from many addresses takes no memory.
    if (!all_.has_one()) return Verdict::kTooFast;
    if (counts_.size() >= forget_at_) ForgetQuiet(now);
    const Allowance allowance(ShareOf(options_.accepts_per_second_max),
                              ShareOf(options_.accepts_at_once_max), now);
    found = counts_.emplace(address.network, Count{.open = 0, .allowance = allowance}).first;
  }
  Count& count = found->second;
  count.allowance.Refill(now);
  if (count.open >= options_.connections_max) return Verdict::kTooManyOpen;
  // Its own share first, so that what is refused to one address is not taken from the others.
  if (!count.allowance.has_one() || !all_.has_one()) return Verdict::kTooFast;
  count.allowance.TakeOne();
  all_.TakeOne();
  ++count.open;
  return Verdict::kAdmitted;
}

void AddressLimits::Leave(const ClientAddress& address) {
  if (address.is_loopback && options_.is_loopback_exempt) return;
  const auto found = counts_.find(address.network);
  CHECK(found != counts_.end());
  CHECK_GE(found->second.open, 1u);
  --found->second.open;
}

void AddressLimits::ForgetQuiet(MonotonicTime now) {
  for (auto at = counts_.begin(); at != counts_.end();) {
    Count& count = at->second;
    count.allowance.Refill(now);
    at = count.open == 0 && count.allowance.is_full() ? counts_.erase(at) : std::next(at);
  }
  forget_at_ = std::max<size_t>(1'024, counts_.size() * 2);
}

}  // namespace millrace::broker::edge

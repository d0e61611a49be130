#include "broker/edge/address_limits.h"

#include <cstring>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace millrace::broker::edge {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Verdict = AddressLimits::Verdict;

ClientAddress Ipv4(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  CHECK_EQ(inet_pton(AF_INET, text, &address.sin_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return ClientAddress::Of(storage);
}

ClientAddress Ipv6(const char* text) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  CHECK_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1);
  sockaddr_storage storage{};
  std::memcpy(&storage, &address, sizeof(address));
  return ClientAddress::Of(storage);
}

ClientAddress Numbered(uint32_t number) {
  return {.network = std::string(reinterpret_cast<const char*>(&number), sizeof(number))};
}

// So many admitted of `count` that come now.
size_t Admitted(AddressLimits& limits, const ClientAddress& address, size_t count,
                MonotonicTime now) {
  size_t admitted = 0;
  for (size_t i = 0; i < count; ++i) {
    if (limits.Admit(address, now) == Verdict::kAdmitted) ++admitted;
  }
  return admitted;
}

TEST(ClientAddressTest, Loopback_IsKnown_InBothFamilies) {
  EXPECT_TRUE(Ipv4("127.0.0.1").is_loopback);
  EXPECT_TRUE(Ipv4("127.255.0.9").is_loopback);
  EXPECT_TRUE(Ipv6("::1").is_loopback);
  EXPECT_FALSE(Ipv4("10.0.0.127").is_loopback);
  EXPECT_FALSE(Ipv6("fe80::1").is_loopback);
}

TEST(ClientAddressTest, Ipv6Addresses_OfOneNetwork_AreOne) {
  EXPECT_EQ(Ipv6("2001:db8:1:2::5").network, Ipv6("2001:db8:1:2:ffff::9").network);
  EXPECT_NE(Ipv6("2001:db8:1:2::5").network, Ipv6("2001:db8:1:3::5").network);
}

TEST(AddressLimitsTest, OneAddress_HasAsManyAsItMay_AndOthersAreServed) {
  AddressLimits limits({.connections_max = 3});
  const ClientAddress greedy = Ipv4("10.0.0.1");
  EXPECT_EQ(Admitted(limits, greedy, 10, seconds(1)), 3u);
  EXPECT_EQ(limits.Admit(greedy, seconds(1)), Verdict::kTooManyOpen);
  EXPECT_EQ(limits.Admit(Ipv4("10.0.0.2"), seconds(1)), Verdict::kAdmitted);
  limits.Leave(greedy);
  EXPECT_EQ(limits.Admit(greedy, seconds(1)), Verdict::kAdmitted);
}

TEST(AddressLimitsTest, Loopback_HasNoBound_UnlessItIsToldTo) {
  AddressLimits limits({.connections_max = 3});
  EXPECT_EQ(Admitted(limits, Ipv4("127.0.0.1"), 5'000, seconds(1)), 5'000u);
  AddressLimits strict({.connections_max = 3, .is_loopback_exempt = false});
  EXPECT_EQ(Admitted(strict, Ipv4("127.0.0.1"), 10, seconds(1)), 3u);
}

TEST(AddressLimitsTest, ConnectionsASecond_AreBounded_OfOneAddressToAQuarter) {
  AddressLimits limits({.connections_max = 10'000});
  const ClientAddress fast = Ipv4("10.0.0.1");
  EXPECT_EQ(Admitted(limits, fast, 10'000, seconds(10)), 250u);
  EXPECT_EQ(limits.Admit(fast, seconds(10)), Verdict::kTooFast);
  EXPECT_EQ(Admitted(limits, fast, 10'000, seconds(12)), 100u);
  // A whole hour without a connection is worth no more than what may come at once.
  EXPECT_EQ(Admitted(limits, fast, 10'000, seconds(3600)), 250u);
}

TEST(AddressLimitsTest, ConnectionsASecond_AreBounded_OfAllAddressesTogether) {
  AddressLimits limits({.connections_max = 10'000});
  size_t admitted = 0;
  for (uint32_t i = 0; i < 5'000; ++i) admitted += Admitted(limits, Numbered(i), 1, seconds(10));
  EXPECT_EQ(admitted, 1'000u);
  admitted = 0;
  for (uint32_t i = 0; i < 5'000; ++i) admitted += Admitted(limits, Numbered(i), 1, seconds(11));
  EXPECT_EQ(admitted, 200u);
}

TEST(AddressLimitsTest, WhatOneAddressIsRefused_IsNotTakenFromTheOthers) {
  AddressLimits limits({.connections_max = 10'000});
  EXPECT_EQ(Admitted(limits, Ipv4("10.0.0.1"), 100'000, seconds(10)), 250u);
  EXPECT_EQ(Admitted(limits, Ipv4("10.0.0.2"), 250, seconds(10)), 250u);
}

TEST(AddressLimitsTest, AddressesThatLeft_AreForgotten) {
  AddressLimits limits({.connections_max = 10});
  for (uint32_t i = 0; i < 100'000; ++i) {
    const MonotonicTime now = milliseconds(10) * i;
    if (limits.Admit(Numbered(i), now) == Verdict::kAdmitted) limits.Leave(Numbered(i));
  }
  EXPECT_LE(limits.address_count(), 2'048u);
}

}  // namespace
}  // namespace millrace::broker::edge

#include <string>

#include <gtest/gtest.h>

#include "raft/runtime/network.h"

namespace millrace {
namespace {

struct Good {
  const char* text;
  const char* host;
  uint16_t port;
  bool is_loopback;
};

TEST(ParseEndpoint, Takes_NamesAndAddresses_AndPrintsThemBack) {
  const Good cases[] = {
      {"localhost:7440", "localhost", 7440, true},
      {"127.0.0.1:0", "127.0.0.1", 0, true},
      {"[::1]:65535", "::1", 65535, true},
      {"0.0.0.0:80", "0.0.0.0", 80, false},
      {"127.evil.example:80", "127.evil.example", 80, false},
      {"broker-1.example:7441", "broker-1.example", 7441, false},
  };
  for (const Good& good : cases) {
    const Result<Endpoint> endpoint = ParseEndpoint(good.text);
    ASSERT_TRUE(endpoint.ok()) << endpoint.status();
    EXPECT_EQ(endpoint->host, good.host);
    EXPECT_EQ(endpoint->port, good.port);
    EXPECT_EQ(endpoint->IsLoopback(), good.is_loopback) << good.text;
    EXPECT_EQ(endpoint->ToString(), good.text);
  }
}

TEST(ParseEndpoint, Refuses_WhatIsNoEndpoint_NamingIt) {
  for (const char* text : {"", "7440", "host:", "host:65536", "host:-1", "host:7a", ":7440",
                           "::1:80", "a b:80", "http://host:80", "[::1:80", "[]:80"}) {
    const Result<Endpoint> endpoint = ParseEndpoint(text);
    ASSERT_FALSE(endpoint.ok()) << text;
    EXPECT_EQ(endpoint.status().code(), Code::kInvalidArgument);
    EXPECT_NE(endpoint.status().message().find('"' + std::string(text) + '"'), std::string::npos);
  }
}

}  // namespace
}  // namespace millrace

// What the public library does without a broker; tests/client/api/library_checks.cc has the
// rest.
#include "millrace/client.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(Connect, SaysThatNobodyIsThere_AfterItsTimeout) {
  const Status status =
      Client::Connect({.bootstrap = "127.0.0.1:1,127.0.0.1:2", .connect_timeout = 200ms}).status();
  EXPECT_TRUE(status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded)
      << status;
}

TEST(Connect, TakesBlanksAndALastComma_AndTellsWhatItWaitsFor) {
  std::vector<std::string> told;  // addresses
  const Status status =
      Client::Connect({.bootstrap = " 127.0.0.1:1 , 127.0.0.1:2, ",
                       .connect_timeout = 60s,
                       .refused_timeout = 1500ms,
                       .on_outage = [&](const Outage& outage) { told.push_back(outage.address); }})
          .status();
  EXPECT_THAT(std::string(status.message()), HasSubstr(": Connection refused"));
  ASSERT_FALSE(told.empty());
  EXPECT_THAT(told[0], HasSubstr("127.0.0.1:"));
}

TEST(Connect, RefusesBadOptions_ByName) {
  const auto refusal = [](const ClientOptions& options) {
    const Status status = Client::Connect(options).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal({.bootstrap = ""}), HasSubstr("bootstrap"));
  EXPECT_THAT(refusal({.bootstrap = "a"}), HasSubstr("bootstrap"));
  EXPECT_THAT(refusal({.bootstrap = " , "}), HasSubstr("bootstrap"));
  EXPECT_THAT(refusal({.bootstrap = "a:1 b:2"}), HasSubstr("commas"));
  EXPECT_THAT(refusal({.bootstrap = "a:1,http://b:2"}), HasSubstr("http://b:2\" is a URL"));
  EXPECT_THAT(refusal({.client_id = std::string(250, 'x')}), HasSubstr("client_id"));
  EXPECT_THAT(refusal({.connect_timeout = 0ms}), HasSubstr("connect_timeout"));
  EXPECT_THAT(refusal({.metadata_age_max = 99ms}), HasSubstr("metadata_age_max"));
}

TEST(ParseCompression, KnowsTheNames) {
  EXPECT_EQ(ParseCompression("none").value(), Compression::kNone);
  EXPECT_EQ(ParseCompression("zstd").value(), Compression::kZstd);
  EXPECT_THAT(std::string(ParseCompression("brotli").status().message()), HasSubstr("brotli"));
}

}  // namespace
}  // namespace millrace

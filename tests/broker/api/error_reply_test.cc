#include "broker/api/error_reply.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

TEST(ErrorReplyTest, Error_CarriesCodeMessageReasonMetadataAndDelay) {
  v1::Error error;
  error.set_message("stale");
  ToError(Unavailable("partition 3 moved", Reason::kNotLeader)
              .AddMetadata("leader_id", "2")
              .RetryAfterMs(1500),
          &error);
  EXPECT_EQ(error.code(), 14);
  EXPECT_EQ(error.message(), "partition 3 moved");
  EXPECT_EQ(error.info().reason(), "NOT_LEADER");
  EXPECT_EQ(error.info().domain(), "millrace");
  EXPECT_EQ(error.info().metadata().at("leader_id"), "2");
  EXPECT_EQ(error.retry().retry_delay().seconds(), 1);
  EXPECT_EQ(error.retry().retry_delay().nanos(), 500'000'000);
}

TEST(ErrorReplyTest, Reason_IsTheCodesName_WhenThereIsNoFinerOne) {
  v1::Error error;
  ToError(InvalidArgument("no"), &error);
  EXPECT_EQ(error.info().reason(), "INVALID_ARGUMENT");
  EXPECT_FALSE(error.has_retry());
}

TEST(ErrorReplyTest, Text_KeepsUtf8_AndReplacesWhatIsNot) {
  const std::vector<std::pair<std::string, std::string>> kCases{
      {"", ""},
      {"flights", "flights"},
      {"\u00e9\u20ac\U0001F600", "\u00e9\u20ac\U0001F600"},
      {"a\xff"
       "b",
       "a?b"},
      {"\xc0\x80", "??"},            // longer form than needed
      {"\xed\xa0\x80", "???"},       // a surrogate
      {"\xf4\x90\x80\x80", "????"},  // past U+10FFFF
      {"\xe2\x82", "??"},            // cut in the middle
  };
  for (const auto& [text, expected] : kCases) EXPECT_EQ(ErrorText(text), expected);
}

TEST(ErrorReplyTest, Text_IsCutAtACharacter) {
  const std::string text = ErrorText(std::string(1023, 'x') + "\u20ac");
  EXPECT_EQ(text, std::string(1023, 'x'));
  EXPECT_EQ(ErrorText(std::string(5000, '\xff')).size(), 1024u);
}

TEST(ErrorReplyTest, TheErrorsPage_ListsEveryReason) {
  std::ostringstream page;
  page << std::ifstream(MILLRACE_SOURCE_DIR "/docs/errors.md").rdbuf();
  for (int i = 1; !ReasonName(static_cast<Reason>(i)).empty(); ++i) {
    const std::string row = "| `" + std::string(ReasonName(static_cast<Reason>(i))) + "` |";
    EXPECT_NE(page.str().find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace millrace::broker

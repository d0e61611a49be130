#include "broker/config/topic_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker::config {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::map<std::string, std::string>& settings) {
  const Status status = ValidateTopicSettings(settings);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return std::string(status.message());
}

TEST(TopicSettingsTest, Validate_AcceptsNone_AndKnownKeysInRange) {
  EXPECT_TRUE(ValidateTopicSettings({}).ok());
  EXPECT_TRUE(ValidateTopicSettings({{"batch_bytes_max", "1024"}}).ok());
  EXPECT_TRUE(ValidateTopicSettings({{"batch_bytes_max", "2MiB"}}).ok());
}

TEST(TopicSettingsTest, Validate_NamesTheKey_WhenItIsUnknown) {
  EXPECT_THAT(ErrorOf({{"batch_byte_max", "1"}}), HasSubstr("\"batch_byte_max\""));
  EXPECT_THAT(ErrorOf({{"", "1"}}), HasSubstr("there is no topic setting \"\""));
}

TEST(TopicSettingsTest, Validate_NamesKeyAndValue_WhenTheValueDoesNotFit) {
  for (const char* text : {"", "x", "-1", "1023", "4MiB", "1.5MiB", "1 MiB", "1mib",
                           "99999999999999999999", "18446744073709551615GiB"}) {
    const std::string error = ErrorOf({{"batch_bytes_max", text}});
    EXPECT_THAT(error, HasSubstr("batch_bytes_max"));
    EXPECT_THAT(error, HasSubstr("\"" + std::string(text) + "\""));
  }
}

TEST(TopicSettingsTest, Values_ComeFromTheTexts_ElseFromTheDefaults) {
  EXPECT_EQ(TopicSettings().batch_bytes_max, 1'048'588u);
  using Texts = std::map<std::string, std::string>;
  EXPECT_EQ(TopicSettings(Texts{{"batch_bytes_max", "64KiB"}}).batch_bytes_max, 64u << 10);
  EXPECT_EQ(TopicSettings(Texts{{"of_a_later_version", "?"}}).batch_bytes_max, 1'048'588u);
}

}  // namespace
}  // namespace millrace::broker::config

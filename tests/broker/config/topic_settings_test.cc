#include "broker/config/topic_settings.h"

#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker::config {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::map<std::string, std::string>& settings) {
  const Status status = CanonicalTopicSettings(settings).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  return std::string(status.message());
}

TEST(TopicSettingsTest, Validate_AcceptsNone_AndKnownKeysInRange) {
  EXPECT_TRUE(CanonicalTopicSettings({}).ok());
  EXPECT_TRUE(CanonicalTopicSettings({{"batch_bytes_max", "1024"}}).ok());
  EXPECT_TRUE(CanonicalTopicSettings({{"batch_bytes_max", "2MiB"}}).ok());
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

TEST(TopicSettingsTest, ASwitch_IsOnOrOff) {
  using Texts = std::map<std::string, std::string>;
  for (const char* text : {"true", "1", "yes"}) {
    EXPECT_TRUE(CanonicalTopicSettings({{"protected", text}}).ok());
    EXPECT_EQ(TopicSettings(Texts{{"protected", text}}).is_protected, 1u);
  }
  EXPECT_EQ(TopicSettings(Texts{{"protected", "false"}}).is_protected, 0u);
  EXPECT_THAT(ErrorOf({{"protected", "on"}}), HasSubstr("true or false"));
}

TEST(TopicSettingsTest, AChoice_IsOneOfItsWords_AndOneFormIsKept) {
  for (const auto& [text, kept, cleanup] :
       {std::tuple{"delete", "delete", Cleanup::kDelete},
        {"compact", "compact", Cleanup::kCompact},
        {"compact,delete", "compact,delete", Cleanup::kCompactAndDelete},
        {"delete,compact", "compact,delete", Cleanup::kCompactAndDelete}}) {
    const TopicTexts canonical = CanonicalTopicSettings({{"cleanup", text}}).value();
    EXPECT_EQ(canonical.at("cleanup"), kept);
    EXPECT_EQ(TopicSettings(canonical).cleanup, static_cast<uint64_t>(cleanup));
  }
  for (const char* text : {"", "Compact", "compact,", ",compact", "compact,delete,compact", "0"}) {
    EXPECT_THAT(ErrorOf({{"cleanup", text}}),
                HasSubstr("none of \"delete\", \"compact\", \"compact,delete\""))
        << text;
  }
}

TEST(TopicSettingsTest, Cleanup_SaysWhetherRecordsExpire_AndWhetherKeysAreCompacted) {
  using Texts = std::map<std::string, std::string>;
  EXPECT_TRUE(TopicSettings().expires());
  EXPECT_FALSE(TopicSettings().is_compacted());
  EXPECT_FALSE(TopicSettings(Texts{{"cleanup", "compact"}}).expires());
  EXPECT_TRUE(TopicSettings(Texts{{"cleanup", "compact"}}).is_compacted());
  EXPECT_TRUE(TopicSettings(Texts{{"cleanup", "compact,delete"}}).expires());
  EXPECT_TRUE(TopicSettings(Texts{{"cleanup", "compact,delete"}}).is_compacted());
}

TEST(TopicSettingsTest, AShare_IsANumberFromZeroToOne) {
  for (const auto& [text, kept, millionths] : {std::tuple{"0.5", "0.5", 500'000u},
                                               {"1", "1", 1'000'000u},
                                               {"1.000", "1", 1'000'000u},
                                               {"0", "0", 0u},
                                               {"0.0", "0", 0u},
                                               {"0.000001", "0.000001", 1u},
                                               {"0.250", "0.25", 250'000u}}) {
    const TopicTexts canonical = CanonicalTopicSettings({{"dirty_ratio_min", text}}).value();
    EXPECT_EQ(canonical.at("dirty_ratio_min"), kept);
    EXPECT_EQ(TopicSettings(canonical).dirty_ratio_min, millionths) << text;
  }
  for (const char* text : {"", ".", ".5", "1.", "1.000001", "2", "-0.5", "0.0000001", "0.5.5",
                           "0.x", "5e-1", "nan", "50%"}) {
    EXPECT_THAT(ErrorOf({{"dirty_ratio_min", text}}), HasSubstr("dirty_ratio_min")) << text;
  }
}

// The page, the answers to clients and the decisions are made from it.
TEST(TopicSettingsTest, Table_IsSorted_AndItsDefaultsAreValid) {
  std::string before;
  for (const TopicSetting& setting : TopicSettingTable()) {
    EXPECT_LT(before, setting.key);
    before = setting.key;
    EXPECT_TRUE(CheckIsTopicSetting(setting.key).ok());
    EXPECT_TRUE(CanonicalTopicSettings({{std::string(setting.key), DefaultOf(setting)}}).ok())
        << setting.key;
    EXPECT_FALSE(setting.doc.empty());
  }
}

TEST(TopicSettingsTest, WhatIsKept_HasOneForm_HoweverItWasGiven) {
  const std::string zeros(100'000, '0');
  for (const auto& [key, text, kept] : {std::tuple{"segment_bytes", "65536", "64KiB"},
                                        {"segment_bytes", "64KiB", "64KiB"},
                                        {"segment_time", "86400s", "1d"},
                                        {"protected", "yes", "true"},
                                        {"protected", "0", "false"}}) {
    EXPECT_EQ(CanonicalTopicSettings({{key, text}}).value().at(key), kept) << text;
  }
  EXPECT_EQ(CanonicalTopicSettings({{"segment_bytes", zeros + "65536"}}).value(),
            (TopicTexts{{"segment_bytes", "64KiB"}}));
  EXPECT_LT(ErrorOf({{"segment_bytes", zeros}}).size(), 500u);
  EXPECT_LT(ErrorOf({{zeros, "1"}}).size(), 500u);
}

TEST(TopicSettingsTest, ATime_MayBeInDays) {
  using Texts = std::map<std::string, std::string>;
  for (const auto& [text, milliseconds] : {std::pair{"10s", 10'000u},
                                           {"90m", 5'400'000u},
                                           {"36h", 129'600'000u},
                                           {"7d", 604'800'000u}}) {
    EXPECT_TRUE(CanonicalTopicSettings({{"segment_time", text}}).ok()) << text;
    EXPECT_EQ(TopicSettings(Texts{{"segment_time", text}}).segment_time, milliseconds);
  }
  for (const char* text : {"9s", "367d", "1w", "1.5h", "-1d", "h"}) {
    EXPECT_THAT(ErrorOf({{"segment_time", text}}), HasSubstr("segment_time")) << text;
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

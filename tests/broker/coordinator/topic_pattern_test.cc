// Patterns of subscriptions (docs/adr/0017-coordinators.md, rule 23 of the design: `.*`, or one
// that explodes).
#include "broker/coordinator/topic_pattern.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

using testing::HasSubstr;

bool Matches(std::string_view text, std::string_view name) {
  const Result<TopicPattern> pattern = TopicPattern::Parse(text);
  EXPECT_TRUE(pattern.ok()) << pattern.status();
  return pattern.ok() && pattern->Matches(name);
}

std::string Refusal(std::string_view text) {
  const Status status = TopicPattern::Parse(text).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(TopicPattern, MatchesWholeNames) {
  EXPECT_TRUE(Matches("orders-.*", "orders-eu"));
  EXPECT_TRUE(Matches("orders|returns", "returns"));
  EXPECT_FALSE(Matches("orders", "orders-eu"));
  EXPECT_FALSE(Matches("orders", "all-orders"));
  EXPECT_FALSE(Matches("orders|returns", "orders-returns")) << "an alternative is whole, too";
  EXPECT_FALSE(Matches("ORDERS", "orders"));
  EXPECT_TRUE(Matches("(?i)ORDERS", "orders"));
}

TEST(TopicPattern, ThatMatchesAnything_MatchesNoTopicOfMillracesOwn) {
  for (const char* text : {".*", "__.*", "__coordinator", "[^a]+", "__coordinator|__millrace_x"}) {
    for (const char* name : {"__coordinator", "__audit", "__millrace", "__millrace_x"}) {
      EXPECT_FALSE(Matches(text, name)) << text << " " << name;
    }
  }
  EXPECT_TRUE(Matches(".*", "__consumer_offsets")) << "that one is people's";
  EXPECT_TRUE(Matches(".*", "a"));
}

TEST(TopicPattern, ThatIsEmpty_IsRefused) { EXPECT_EQ(Refusal(""), "topic pattern is empty"); }

TEST(TopicPattern, IsOf1000BytesAtMost) {
  EXPECT_TRUE(TopicPattern::Parse(std::string(1000, 'a')).ok());
  EXPECT_EQ(Refusal(std::string(1001, 'a')), "topic pattern of 1001 bytes is longer than 1000");
}

TEST(TopicPattern, ThatIsNoUtf8_IsRefused_WithoutItsBytes) {
  for (const std::string& text :
       {std::string("\xFF"), std::string("a\xC3"), std::string("[\x80-z]"),
        std::string("\xED\xA0\x80"), std::string(900, '\xC0')}) {
    EXPECT_EQ(Refusal(text), "topic pattern is not UTF-8");
  }
  EXPECT_FALSE(Matches("\xC3\xA9|.\xE2\x82\xAC", "a")) << "other letters are, which no topic has";
}

TEST(TopicPattern, ThatIsNoExpression_IsRefused_WithThePart) {
  EXPECT_EQ(Refusal("orders-("),
            "topic pattern \"orders-(\" is no RE2 expression: missing ): orders-(");
  EXPECT_THAT(Refusal("a**b[z-a]"), HasSubstr("z-a"));
  EXPECT_THAT(Refusal("(a)\\1"), HasSubstr("\\1")) << "what only backtracking can do";
  EXPECT_THAT(Refusal("a(?=b)"), HasSubstr("(?="));
}

// Each is short and would be a large program, or one that other engines never end with.
TEST(TopicPattern, ThatExplodes_IsRefused_OrMatchesAsAnyOther) {
  EXPECT_THAT(Refusal("((a{1,30}){1,30}){1,30}"), HasSubstr("repetition"));
  EXPECT_THAT(Refusal("a{100000}"), HasSubstr("repetition"));
  EXPECT_THAT(Refusal("\\pL{300}"), HasSubstr("more than 1048576 bytes of memory"));
  const std::string name(249, 'a');
  EXPECT_FALSE(Matches("(a*)*b", name));
  EXPECT_FALSE(Matches("(a|aa)+b", name));
  EXPECT_FALSE(Matches("(.*a){30}b", name));
  EXPECT_TRUE(Matches("(.*a){30}", name));
  EXPECT_TRUE(Matches(".*a.{200}", name)) << "has more states than there is memory for";
  EXPECT_TRUE(Matches(std::string(499, '(') + "a" + std::string(499, ')'), "a"));
}

TEST(TopicPattern, HoldsAnyBytes_AsTheyAre) {
  const std::string text("a\0b", 3);
  const Result<TopicPattern> pattern = TopicPattern::Parse(text);
  ASSERT_TRUE(pattern.ok()) << pattern.status();
  EXPECT_EQ(pattern->text(), text);
  EXPECT_FALSE(pattern->Matches("a"));
  EXPECT_TRUE(pattern->Matches(text));
}

}  // namespace
}  // namespace millrace::broker

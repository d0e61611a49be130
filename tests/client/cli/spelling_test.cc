#include "client/cli/spelling.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::client::cli {
namespace {

TEST(EditDistance, CountsSlips) {
  const struct {
    const char* a;
    const char* b;
    size_t slips;
  } pairs[] = {{"", "", 0},
               {"", "abc", 3},
               {"abc", "", 3},
               {"abc", "abc", 0},
               {"abc", "abd", 1},
               {"abc", "ab", 1},
               {"abc", "abcd", 1},
               {"form", "from", 1},
               {"fligths", "flights", 1},
               {"ca", "abc", 3},
               {"kitten", "sitting", 3},
               {"ab", "ba", 1},
               {"abcdef", "badcfe", 3}};
  for (const auto& [a, b, slips] : pairs) {
    EXPECT_EQ(EditDistance(a, b), slips) << a << " " << b;
    EXPECT_EQ(EditDistance(b, a), slips) << b << " " << a;
  }
}

TEST(NearestName, IsTheFewestSlipsAway_TheFirstOfSeveral) {
  const std::vector<std::string> names = {"flighty", "flight", "flights"};
  EXPECT_EQ(NearestName("fligths", names), "flights");
  EXPECT_EQ(NearestName("flightz", names), "flighty");
  EXPECT_EQ(NearestName("flights", names), "flights");
}

TEST(NearestName, IsAbsent_WhereMuchWouldHaveToChange) {
  EXPECT_EQ(NearestName("frobnicate", {"topic", "produce"}), std::nullopt);
  EXPECT_EQ(NearestName("t2", {"t1"}), std::nullopt) << "two characters are like any other two";
  EXPECT_EQ(NearestName("abcd", {"abxy"}), std::nullopt) << "two slips of four characters";
  EXPECT_EQ(NearestName("abcdef", {"abcdxy"}), "abcdxy") << "two slips of six";
  EXPECT_EQ(NearestName("topic", {}), std::nullopt);
  EXPECT_EQ(NearestName(std::string(300, 'x'), {std::string(299, 'x')}), std::nullopt);
  EXPECT_EQ(NearestName("flights", {std::string(1 << 20, 'x')}), std::nullopt);
}

TEST(DidYouMean, IsTheEndOfAMessage) {
  EXPECT_EQ(DidYouMean("topc", {"topic"}), "; did you mean topic?");
  EXPECT_EQ(DidYouMean("x", {"topic"}), "");
  EXPECT_EQ(DidYouMean("topic", {"topics", "topic"}), "") << "it came to be meanwhile";
}

}  // namespace
}  // namespace millrace::client::cli

#include "broker/partition/turns.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

class TurnsTest : public ::testing::Test {
 protected:
  void Take(char name) {
    turns->Take([this, name](Turns::Turn turn) {
      began += name;
      running.emplace(name, std::move(turn));
    });
  }
  // The turn goes, once it is out of the map: another may begin then.
  void Drop(char name) { running.extract(name); }

  std::string began;
  std::map<char, Turns::Turn> running;
  std::optional<Turns> turns{std::in_place, 2, 3};  // goes first, so that nothing begins any more
};

TEST_F(TurnsTest, NoMoreRunThanMay_AndTheOthersFollowInOrder) {
  for (const char name : {'a', 'b', 'c', 'd'}) Take(name);
  EXPECT_EQ(began, "ab");
  running.at('b').End();
  EXPECT_EQ(began, "abc");
  running.at('b').End();
  EXPECT_EQ(began, "abc") << "a turn ends once";
  Drop('a');
  EXPECT_EQ(began, "abcd");
}

TEST_F(TurnsTest, OneMoreMayWait_UntilThereAreAsManyAsMay) {
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) {
    EXPECT_TRUE(turns->MayWait()) << name;
    Take(name);
  }
  EXPECT_FALSE(turns->MayWait());
  Drop('a');
  EXPECT_TRUE(turns->MayWait());
}

TEST_F(TurnsTest, ManyThatEndAtOnce_DoNotRecurse) {
  Take('a');
  Take('b');
  int ended = 0;
  for (int i = 0; i < 1'000'000; ++i) turns->Take([&ended](const Turns::Turn&) { ++ended; });
  Drop('a');
  EXPECT_EQ(ended, 1'000'000);
}

TEST_F(TurnsTest, ATurnMayOutliveThem) {
  for (const char name : {'a', 'b', 'c'}) Take(name);
  turns.reset();
  running.clear();
  EXPECT_EQ(began, "ab");
}

}  // namespace
}  // namespace millrace::broker

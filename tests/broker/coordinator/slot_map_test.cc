// Values by slot and name: found, gone through, and shared with copies.
#include "broker/coordinator/slot_map.h"

#include <set>
#include <string>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

using Numbers = SlotMap<int>;

std::string NameOf(int i) { return "name-" + std::to_string(i); }

Numbers Made(int count) {
  Numbers numbers;
  for (int i = 0; i < count; ++i) numbers.Make(NameOf(i)).first = i;
  return numbers;
}

TEST(SlotMap, HasWhatWasMade_OnceOfAName_UntilItIsErased) {
  Numbers numbers = Made(3000);
  EXPECT_EQ(numbers.size(), 3000U);
  EXPECT_FALSE(numbers.Make(NameOf(7)).second);
  EXPECT_EQ(numbers.size(), 3000U);
  ASSERT_NE(numbers.Find(NameOf(7)), nullptr);
  EXPECT_EQ(*numbers.Find(NameOf(7)), 7);
  numbers.Erase(NameOf(7));
  numbers.Erase(NameOf(7));
  numbers.Erase(std::string("nobody"));
  EXPECT_EQ(numbers.Find(NameOf(7)), nullptr);
  EXPECT_EQ(numbers.size(), 2999U);
  for (int i = 0; i < 3000; ++i) numbers.Erase(NameOf(i));
  EXPECT_EQ(numbers.size(), 0U);
  Numbers::Cursor cursor;
  EXPECT_EQ(numbers.Next(&cursor), nullptr);
}

TEST(SlotMap, IsGoneThroughInOneOrder_BySlotAndThenByName) {
  const Numbers numbers = Made(3000);
  Numbers::Cursor cursor;
  std::set<std::string> seen;
  numbers.ForEach([&](const std::string& name, int number) {
    const int* next = numbers.Next(&cursor);
    ASSERT_NE(next, nullptr);
    EXPECT_EQ(cursor.name, name);
    EXPECT_EQ(cursor.slot, SlotOf(name));
    EXPECT_EQ(*next, number);
    seen.insert(name);
  });
  EXPECT_EQ(numbers.Next(&cursor), nullptr);
  EXPECT_EQ(seen.size(), 3000U);
}

TEST(SlotMap, ACopy_StaysAsItIs) {
  Numbers numbers = Made(100);
  const Numbers copy = numbers;
  numbers.Make(NameOf(5)).first = 555;
  numbers.Erase(NameOf(6));
  numbers.Make("new");
  EXPECT_EQ(*copy.Find(NameOf(5)), 5);
  EXPECT_NE(copy.Find(NameOf(6)), nullptr);
  EXPECT_EQ(copy.Find(std::string("new")), nullptr);
  EXPECT_EQ(copy.size(), 100U);
}

}  // namespace
}  // namespace millrace::broker

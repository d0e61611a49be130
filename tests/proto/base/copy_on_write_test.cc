#include "proto/base/copy_on_write.h"

#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(CopyOnWrite, ACopy_IsShared_UntilEitherChanges) {
  CopyOnWrite<std::string> original;
  original.Mutable() = "one";
  const CopyOnWrite<std::string> copy = original;
  EXPECT_EQ(&*copy, &*original);
  original.Mutable() += " more";
  EXPECT_EQ(*original, "one more");
  EXPECT_EQ(*copy, "one");
}

TEST(CopyOnWrite, OneThatIsNotShared_IsChangedInPlace) {
  CopyOnWrite<std::vector<int>> value;
  value.Mutable().push_back(1);
  const int* const at = value->data();
  {
    const auto copy = value;
  }
  value.Mutable()[0] = 2;
  EXPECT_EQ(value->data(), at);
}

TEST(CopyOnWrite, Assignment_LetsGoOfWhatWasThere) {
  CopyOnWrite<std::string> a;
  CopyOnWrite<std::string> b;
  a.Mutable() = "a";
  b.Mutable() = "b";
  b = a;
  b = *&b;
  EXPECT_EQ(*b, "a");
  b.Mutable() = "c";
  EXPECT_EQ(*a, "a");
}

// A thread sanitizer has something to say here if it may not be.
TEST(CopyOnWrite, ACopy_IsReadOnAnotherThread_WhileTheOriginalChanges) {
  CopyOnWrite<std::vector<int>> value;
  value.Mutable().assign(1000, 0);
  for (int round = 1; round <= 100; ++round) {
    std::thread reader([copy = value, round] {
      for (const int element : *copy) EXPECT_EQ(element, round - 1);
    });
    for (int& element : value.Mutable()) element = round;
    reader.join();
    value.Mutable()[0] = round;
  }
}

}  // namespace
}  // namespace millrace

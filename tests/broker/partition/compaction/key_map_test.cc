// The newest offset of each key, within a bound of memory.

#include "broker/partition/compaction/key_map.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "raft/runtime/random.h"
#include "tests/support/seeds/seeds.h"

namespace millrace::broker {
namespace {

constexpr uint64_t kBytesOfASlot = 24;

TEST(KeyMap, GivesTheLargestOffsetOfAKey_InWhateverOrderTheyCame) {
  KeyMap newest({.bytes_max = 1 << 10}, Random(1));
  ASSERT_TRUE(newest.Add("AA", Offset(3)));
  ASSERT_TRUE(newest.Add("AA", Offset(9)));
  ASSERT_TRUE(newest.Add("AA", Offset(5)));
  ASSERT_TRUE(newest.Add("", Offset(0)));
  EXPECT_EQ(newest.NewestOf("AA"), Offset(9));
  EXPECT_EQ(newest.NewestOf(""), Offset(0)) << "an empty key is a key, and the first offset one";
  EXPECT_EQ(newest.NewestOf("B6"), std::nullopt);
  EXPECT_EQ(newest.size(), 2u);
}

TEST(KeyMap, ThatIsFull_TakesNoNewKey_ButWhatItHasGrowsNewer) {
  KeyMap newest({.bytes_max = 10 * kBytesOfASlot}, Random(1));
  for (uint64_t i = 0; i < newest.capacity(); ++i) {
    ASSERT_TRUE(newest.Add(std::to_string(i), Offset(1)));
  }
  EXPECT_FALSE(newest.Add("one more", Offset(2)));
  EXPECT_EQ(newest.NewestOf("one more"), std::nullopt);
  EXPECT_TRUE(newest.Add("0", Offset(3)));
  EXPECT_EQ(newest.NewestOf("0"), Offset(3));
  EXPECT_EQ(newest.size(), newest.capacity());
}

TEST(KeyMap, StaysWithinItsBytes_AndTakesNoMoreThanItsKeysNeed) {
  for (uint64_t slots = 2; slots < 200; ++slots) {
    const KeyMap newest({.bytes_max = slots * kBytesOfASlot + 5}, Random(1));
    EXPECT_LE(newest.size_bytes(), slots * kBytesOfASlot);
    EXPECT_GE(newest.capacity() + 1, slots * 7 / 8) << slots;
    const KeyMap small({.bytes_max = 1 << 20, .keys_max = slots}, Random(1));
    EXPECT_EQ(small.capacity(), slots);
    EXPECT_LE(small.size_bytes(), (slots * 8 / 7 + 2) * kBytesOfASlot);
  }
}

TEST(KeyHasher, OfAnotherSeed_GivesOtherHashes) {
  for (const size_t size : {0, 1, 3, 8, 16, 17, 128, 129, 240, 241, 5000}) {
    const std::string key(size, 'k');
    EXPECT_EQ(KeyHasher(Random(1))(key), KeyHasher(Random(1))(key));
    const KeyHash one = KeyHasher(Random(1))(key);
    const KeyHash other = KeyHasher(Random(2))(key);
    EXPECT_NE(one.low, other.low) << size;
    EXPECT_NE(one.high, other.high) << size;
  }
}

std::string AnyKey(Random* random) {
  const size_t size = random->OneIn(10) ? random->Below(300) : random->Below(4);
  std::string key;
  while (key.size() < size) key.push_back(static_cast<char>('a' + random->Below(3)));
  return key;
}

std::string PlayAgainstAModel(uint64_t seed) {
  Random random(seed);
  KeyMap newest({.bytes_max = random.Between(2, 300) * kBytesOfASlot}, random.Fork());
  std::map<std::string, Offset> model;
  for (int64_t step = 0; step < 400; ++step) {
    const std::string key = AnyKey(&random);
    const bool has_room = model.contains(key) || model.size() < newest.capacity();
    if (newest.Add(key, Offset(step)) != has_room) return "wrong about its room, step " + key;
    if (has_room) model[key] = Offset(step);
    const std::string asked = AnyKey(&random);
    const auto known = model.find(asked);
    const std::optional<Offset> found = newest.NewestOf(asked);
    if (found.has_value() != (known != model.end())) return "wrong about having " + asked;
    if (found.has_value() && *found != known->second) return "wrong offset of " + asked;
  }
  return newest.size() == model.size() ? "" : "wrong size";
}

TEST(KeyMapProperty, IsAMapOfBoundedSize) {
  sim::ExpectHolds({.count = 300, .count_long = 20'000}, PlayAgainstAModel);
}

}  // namespace
}  // namespace millrace::broker

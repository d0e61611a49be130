#include "proto/record/key_hash.h"

#include <array>
#include <string>

#include <gtest/gtest.h>

namespace millrace {
namespace {

int32_t Signed(std::string_view key) { return static_cast<int32_t>(Murmur2(key)); }

TEST(KeyHash, Murmur2_EqualsKafkas_OnItsPublishedVectors) {
  EXPECT_EQ(Signed("21"), -973932308);
  EXPECT_EQ(Signed("foobar"), -790332482);
  EXPECT_EQ(Signed("a-little-bit-long-string"), -985981536);
  EXPECT_EQ(Signed("a-little-bit-longer-string"), -1486304829);
  EXPECT_EQ(Signed("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58897971);
  EXPECT_EQ(Signed("abc"), 479470107);
}

TEST(KeyHash, PartitionOfKey_DropsTheSignBit_BeforeTheModulo) {
  // -973932308 & 0x7fffffff = 1173551340, and modulo 7 that is 3.
  EXPECT_EQ(PartitionOfKey("21", 7), PartitionId(1173551340u % 7));
  EXPECT_EQ(PartitionOfKey("anything", 1), PartitionId(0));
}

TEST(KeyHash, PartitionOfKey_SpreadsKeys_OverAllPartitions) {
  std::array<int, 6> hits{};
  for (int i = 0; i < 6000; ++i) ++hits[PartitionOfKey("key" + std::to_string(i), 6).value()];
  for (int count : hits) EXPECT_NEAR(count, 1000, 200);
}

}  // namespace
}  // namespace millrace

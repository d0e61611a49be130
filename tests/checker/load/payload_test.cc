#include "tests/checker/load/payload.h"

#include <string>

#include <gtest/gtest.h>

namespace millrace::checker {
namespace {

TEST(Payload, ReadsBackItsValue) {
  for (const size_t padding : {0, 1, 400}) {
    EXPECT_EQ(DecodePayload(EncodePayload(Key(3), 1234567, padding)), Value{1234567});
  }
}

TEST(Payload, IsBroken_WhenAnyByteDiffersOrIsGone) {
  const std::string good = EncodePayload(Key(3), 17, 20);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    EXPECT_EQ(DecodePayload(bad), std::nullopt) << bad;
    EXPECT_EQ(DecodePayload(std::string_view(good).substr(0, i)), std::nullopt) << i;
  }
}

}  // namespace
}  // namespace millrace::checker

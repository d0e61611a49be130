#include "raft/runtime/pace.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

using std::chrono::seconds;

constexpr PaceBesideWrites::BytesPerSecond kRates{.alone = 100, .beside = 20};

TEST(Pace, APiece_MayTakeLonger_WhereWritesCameBesideIt) {
  PaceBesideWrites pace(kRates);
  EXPECT_EQ(pace.TimeOf(100, 0), seconds(1));
  EXPECT_EQ(pace.TimeOf(100, 3), seconds(5));
  EXPECT_EQ(pace.TimeOf(100, 3), seconds(1)) << "none came since";
}

TEST(Pace, OfWritesBeforeAPieceBegan_NoneCameBesideIt) {
  PaceBesideWrites pace(kRates);
  pace.Begin(7);
  EXPECT_EQ(pace.TimeOf(100, 7), seconds(1));
  pace.Begin(8);
  EXPECT_EQ(pace.TimeOf(100, 9), seconds(5));
}

}  // namespace
}  // namespace millrace

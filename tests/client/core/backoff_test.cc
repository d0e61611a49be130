// How long a client waits before it tries again.
#include "client/core/backoff.h"

#include <set>

#include <gtest/gtest.h>

namespace millrace::client {
namespace {

TEST(BackoffDelay, Doubles_UpToTheMaximum_AndNeverBelowHalf) {
  Random random(1);
  const BackoffOptions options{.initial = Duration(1000), .max = Duration(8000)};
  const int64_t full[] = {1000, 2000, 4000, 8000, 8000};
  for (uint32_t failures = 1; failures <= 5; ++failures) {
    for (int i = 0; i < 50; ++i) {
      const int64_t delay = BackoffDelay(options, failures, random).count();
      EXPECT_GE(delay, full[failures - 1] / 2);
      EXPECT_LE(delay, full[failures - 1]);
    }
  }
}

TEST(BackoffDelay, StaysWithinTheMaximum_HoweverOftenItFailed) {
  Random random(1);
  const BackoffOptions options;
  for (const uint32_t failures : {20u, 21u, 64u, 1000u, UINT32_MAX}) {
    const Duration delay = BackoffDelay(options, failures, random);
    EXPECT_GE(delay, options.max / 2) << failures;
    EXPECT_LE(delay, options.max) << failures;
  }
}

TEST(BackoffDelay, ClientsThatFailedTogether_DoNotComeBackTogether) {
  std::set<Duration> delays;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    delays.insert(BackoffDelay(BackoffOptions(), 1, random));
  }
  EXPECT_GT(delays.size(), 90u);
}

// Nobody waits longer than is allowed because the first wait was set longer.
TEST(BackoffDelay, AnInitialAboveTheMaximum_IsTheMaximum) {
  Random random(1);
  const BackoffOptions options{.initial = Duration(9000), .max = Duration(1000)};
  EXPECT_LE(BackoffDelay(options, 1, random), options.max);
}

}  // namespace
}  // namespace millrace::client

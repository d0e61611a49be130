#include "raft/host/disk_watchdog.h"

#include <gtest/gtest.h>

namespace millrace::raft {
namespace {

constexpr MonotonicTime At(int64_t us) { return MonotonicTime(Duration(us)); }

TEST(DiskWatchdog, WithoutAWrite_NothingIsOld) {
  EXPECT_EQ(DiskWatchdog().OldestAge(At(1'000'000)), Duration(0));
}

TEST(DiskWatchdog, TheOldestWrite_Counts_UntilItIsDurable) {
  DiskWatchdog disk;
  disk.OnSubmitted(At(100));
  disk.OnSubmitted(At(250));
  EXPECT_EQ(disk.OldestAge(At(300)), Duration(200));
  disk.OnDurable(At(100));
  EXPECT_EQ(disk.OldestAge(At(300)), Duration(50));
  disk.OnDurable(At(250));
  EXPECT_EQ(disk.OldestAge(At(300)), Duration(0));
}

// One group's write to its segment takes longer than another's to the journal.
TEST(DiskWatchdog, WhatOvertakesTheOldestWrite_LeavesItTheOldest) {
  DiskWatchdog disk;
  disk.OnSubmitted(At(100));
  disk.OnSubmitted(At(250));
  disk.OnDurable(At(250));
  EXPECT_EQ(disk.OldestAge(At(300)), Duration(200));
}

// An age of 0 would say that there is none.
TEST(DiskWatchdog, AWriteOfThisMoment_IsUnderWay) {
  DiskWatchdog disk;
  disk.OnSubmitted(At(100));
  EXPECT_GT(disk.OldestAge(At(100)), Duration(0));
}

}  // namespace
}  // namespace millrace::raft

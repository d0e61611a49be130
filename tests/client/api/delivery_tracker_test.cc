// A callback per record out of reports per batch.

#include "client/api/delivery_tracker.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/base/status.h"
#include "raft/runtime/random.h"

namespace millrace::internal {
namespace {

using ::testing::ElementsAre;

client::DeliveryReport ReportOf(uint32_t partition, uint32_t record_count, int64_t base_offset) {
  return {.partition = {.partition = PartitionId(partition)},
          .status = {},
          .base_offset = Offset(base_offset),
          .record_count = record_count,
          .append_time_ms = 1234};
}

class DeliveryTrackerTest : public testing::Test {
 protected:
  DeliveryCallback Tell() {
    return [this](const Delivery& delivery) { told_.push_back(delivery); };
  }
  std::vector<int64_t> Offsets() const {
    std::vector<int64_t> offsets;
    for (const Delivery& delivery : told_) offsets.push_back(delivery.offset);
    return offsets;
  }

  DeliveryTracker tracker_{2};
  std::vector<Delivery> told_;
};

TEST_F(DeliveryTrackerTest, EachRecord_IsToldItsOwnOffset_AlsoBehindOnesWithoutACallback) {
  tracker_.Sent(PartitionId(1), Tell());
  tracker_.Sent(PartitionId(1), {});
  tracker_.Sent(PartitionId(0), {});
  tracker_.Sent(PartitionId(1), Tell());
  tracker_.Sent(PartitionId(1), Tell());
  tracker_.Answer(ReportOf(1, 3, 10));
  EXPECT_THAT(Offsets(), ElementsAre(10, 12));
  EXPECT_EQ(told_[0].partition, 1u);
  EXPECT_EQ(told_[0].append_time_ms, 1234);
  tracker_.Answer(ReportOf(0, 1, 70));
  tracker_.Answer(ReportOf(1, 1, 40));
  EXPECT_THAT(Offsets(), ElementsAre(10, 12, 40));
}

TEST_F(DeliveryTrackerTest, ABatchWhoseOffsetIsNotKnown_TellsNone) {
  tracker_.Sent(PartitionId(0), Tell());
  tracker_.Sent(PartitionId(0), Tell());
  tracker_.Answer(ReportOf(0, 2, -1));
  EXPECT_THAT(Offsets(), ElementsAre(-1, -1));
}

TEST_F(DeliveryTrackerTest, AnError_IsToldToAllRecordsOfItsBatch_AndToNoOther) {
  for (int i = 0; i < 3; ++i) tracker_.Sent(PartitionId(0), Tell());
  client::DeliveryReport report = ReportOf(0, 2, -1);
  report.status = DeadlineExceeded("too late");
  report.may_be_stored = true;
  tracker_.Answer(report);
  ASSERT_EQ(told_.size(), 2u);
  for (const Delivery& delivery : told_) {
    EXPECT_EQ(delivery.status, DeadlineExceeded("too late"));
    EXPECT_TRUE(delivery.may_be_stored);
  }
}

// Whatever the batches, a record's offset here is its number.
TEST(DeliveryTracker, EveryRecord_IsToldOnce_InOrder_HoweverItWasBatched) {
  constexpr uint32_t kPartitions = 4;
  struct Count {
    uint32_t sent = 0;
    uint32_t answered = 0;
    std::vector<int64_t> expected;
    std::vector<int64_t> told;
  };
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    Random random(seed);
    DeliveryTracker tracker(kPartitions);
    std::vector<Count> counts(kPartitions);
    for (int step = 0; step < 1000; ++step) {
      const auto partition = static_cast<uint32_t>(random.Below(kPartitions));
      Count& count = counts[partition];
      if (random.OneIn(4)) {
        const auto records = static_cast<uint32_t>(random.Between(0, count.sent - count.answered));
        tracker.Answer(ReportOf(partition, records, count.answered));
        count.answered += records;
        continue;
      }
      DeliveryCallback on_delivery;
      if (!random.OneIn(3)) {
        count.expected.push_back(count.sent);
        on_delivery = [&count](const Delivery& it) { count.told.push_back(it.offset); };
      }
      tracker.Sent(PartitionId(partition), std::move(on_delivery));
      ++count.sent;
    }
    for (uint32_t i = 0; i < kPartitions; ++i) {
      tracker.Answer(ReportOf(i, counts[i].sent - counts[i].answered, counts[i].answered));
      ASSERT_EQ(counts[i].told, counts[i].expected) << "partition " << i;
    }
  }
}

}  // namespace
}  // namespace millrace::internal

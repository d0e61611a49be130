#include "client/api/producer_handle.h"

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/api/scripted_broker.h"

namespace millrace::internal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;

std::unique_ptr<ProducerHandle> Open(const ScriptedCluster& cluster,
                                     const ProducerOptions& options = {}) {
  Result<std::unique_ptr<ProducerHandle>> handle =
      ProducerHandle::Open(cluster.runtime(), "t", options);
  EXPECT_TRUE(handle.ok()) << handle.status();
  return std::move(handle).value();
}

// The topic's end is known, but not yet told, when the second record is to be taken.
TEST(ProducerHandle, ReportsComeInOrder_AndNameThePartition_WhenTheLastWereRefused) {
  ScriptedCluster cluster(4);
  const auto producer = Open(cluster);
  std::vector<std::pair<std::string, uint32_t>> told;  // value, partition
  const auto send = [&](const std::string& value) {
    return producer->Send(
        {.key = "AA", .value = value}, false, [&, value](const Delivery& delivery) {
          EXPECT_EQ(delivery.status.reason(), Reason::kTopicDeleted) << delivery.status;
          told.emplace_back(value, delivery.partition);
        });
  };
  ASSERT_TRUE(send("one").ok());
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait([&] {
    ASSERT_TRUE(send("two").ok());
    cluster.AnswerProduced(NotFound("it is gone", Reason::kTopicDeleted));
  });
  ASSERT_TRUE(producer->Flush(10s).ok());
  constexpr uint32_t kPartitionOfKey = 1;
  EXPECT_THAT(told,
              ElementsAre(std::pair("one", kPartitionOfKey), std::pair("two", kPartitionOfKey)));
  EXPECT_EQ(producer->unanswered_records(), 0u);
}

TEST(ProducerHandle, SmallRecords_CountWithWhatKeepsTrackOfThem) {
  ScriptedCluster cluster(1);
  constexpr size_t kMemory = size_t{1} << 20;
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10, .memory_bytes_max = kMemory});
  size_t taken = 0;
  while (producer->Send({}, false, [](const Delivery&) {}).ok()) ++taken;
  EXPECT_GT(taken, 0u);
  EXPECT_LE(taken, kMemory / ProducerHandle::kRecordOverheadBytes);
}

TEST(ProducerHandle, Memory_IsFreeAgain_OnceRecordsAreAnswered) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10, .memory_bytes_max = 2 << 10});
  size_t taken = 0;
  while (producer->Send({.value = "x"}, false, {}).ok()) ++taken;
  EXPECT_GT(taken, 0u);
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait(
      [&] { cluster.AnswerProduced(NotFound("", Reason::kTopicDeleted)); });
  ASSERT_TRUE(producer->Flush(10s).ok());
  EXPECT_EQ(producer->unanswered_records(), 0u);
  for (size_t i = 0; i < taken; ++i) ASSERT_TRUE(producer->Send({.value = "x"}, false, {}).ok());
  ASSERT_TRUE(producer->Flush(10s).ok());
}

TEST(ProducerHandle, SendsToPartitionsThatCame_AndTellsWhatBecameOfIt) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster);
  EXPECT_EQ(producer->Send({.value = "x", .partition = 2}, false, {}).code(), Code::kNotFound);
  cluster.Grow(3);
  EXPECT_EQ(producer->partition_count(), 3U);
  cluster.AnswerAllFromNowOn();
  std::vector<uint32_t> told;
  ASSERT_TRUE(producer
                  ->Send({.value = "x", .partition = 2}, false,
                         [&](const Delivery& delivery) { told.push_back(delivery.partition); })
                  .ok());
  ASSERT_TRUE(producer->Flush(10s).ok());
  EXPECT_THAT(told, ElementsAre(2U));
}

TEST(ProducerHandle, ARecordAtAnExpectedEnd_NeedsAPartition_AndItsReportTellsTheEndThereIs) {
  ScriptedCluster cluster(2);
  const auto producer = Open(cluster);
  const auto refused = [&](const Record& record) {
    const Status status = producer->Send(record, false, {});
    EXPECT_NE(status.message().find("expected_end_offset"), std::string_view::npos) << status;
    return status.code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused({.value = "x", .expected_end_offset = 0}));
  EXPECT_TRUE(refused({.value = "x", .partition = 0, .expected_end_offset = -1}));
  std::vector<Delivery> told;
  ASSERT_TRUE(producer
                  ->Send({.value = "x", .partition = 1, .expected_end_offset = 5}, false,
                         [&](const Delivery& delivery) { told.push_back(delivery); })
                  .ok());
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait([&] {
    cluster.AnswerProduced(
        FailedPrecondition("it is elsewhere", Reason::kOffsetMoved).AddMetadata("end_offset", "9"));
  });
  ASSERT_TRUE(producer->Flush(10s).ok());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].status.reason(), Reason::kOffsetMoved);
  EXPECT_EQ(told[0].end_offset, 9);
  EXPECT_FALSE(told[0].may_be_stored);
}

TEST(ProducerHandle, TimeoutsForEver_Wait) {
  ScriptedCluster cluster(1);
  constexpr auto kForEver = std::chrono::milliseconds::max();
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10,
                                       .memory_bytes_max = 2 << 10,
                                       .send_timeout = kForEver,
                                       .delivery_timeout = kForEver,
                                       .open_timeout = kForEver});
  const auto check = [](const Delivery& delivery) { EXPECT_TRUE(delivery.status.ok()); };
  while (producer->Send({.value = "x"}, false, check).ok()) continue;
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.Later(20ms, [&] { cluster.AnswerProduced({}); });
  EXPECT_TRUE(producer->Send({.value = "x"}, true, check).ok()) << "there is room after a while";
  ASSERT_TRUE(cluster.WaitUntilProduced(2));
  cluster.AnswerAllFromNowOn();
  EXPECT_TRUE(producer->Flush(kForEver).ok());
}

// A guess would split the records of one key over two partitions.
TEST(ProducerHandle, Open_IsRefused_WhereKeysChoosePartitionsInAWayThatIsNotKnown) {
  ScriptedCluster cluster(2);
  cluster.SetPartitioning(7);
  const Status status = ProducerHandle::Open(cluster.runtime(), "t", {}).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented) << status;
  EXPECT_NE(status.message().find("\"t\""), std::string_view::npos) << status;
}

TEST(ProducerHandle, Open_TakesItsTimeoutOnce) {
  ScriptedCluster cluster(1);
  cluster.DelayAnswers(50ms);
  Open(cluster, {.open_timeout = 1s});
  EXPECT_LE(cluster.TimeoutOf("/InitProducer"), 950ms);
}

}  // namespace
}  // namespace millrace::internal

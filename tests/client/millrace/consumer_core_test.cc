#include "client/millrace/consumer_core.h"

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/millrace/scripted_broker.h"

namespace millrace::internal {
namespace {

using namespace std::chrono_literals;

constexpr size_t kPrefetchBytes = size_t{64} << 10;

std::unique_ptr<ConsumerCore> Open(const ScriptedCluster& cluster,
                                   const ConsumerOptions& options = {}) {
  Result<std::unique_ptr<ConsumerCore>> core = ConsumerCore::Open(cluster.runtime(), "t", options);
  EXPECT_TRUE(core.ok()) << core.status();
  return std::move(core).value();
}

// 3 MB, a thousand records to a batch of 8 KB or so.
void StoreMuch(ScriptedCluster* cluster, uint32_t partition) {
  for (int i = 0; i < 400; ++i) {
    cluster->Store(partition, BatchOf(std::vector<std::string>(1000, "value")), 1000);
  }
}

Records PollOk(ConsumerCore* consumer) {
  Result<Records> records = consumer->Poll(10s);
  EXPECT_TRUE(records.ok()) << records.status();
  return records.ok() ? std::move(records).value() : Records();
}

TEST(ConsumerCore, Seek_ReadsOn_WhenTheQueueWasFull) {
  ScriptedCluster cluster(1);
  StoreMuch(&cluster, 0);
  const auto consumer = Open(cluster, {.prefetch_bytes = kPrefetchBytes});
  ASSERT_TRUE(cluster.WaitUntilSent(kPrefetchBytes)) << "the queue and the credit behind it";
  ASSERT_TRUE(consumer->Seek(0, Position::Earliest()).ok());
  const Records records = PollOk(consumer.get());
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records[0].offset, 0);
}

TEST(ConsumerCore, Pause_LetsTheOtherPartitionsBeRead_WhenTheQueueWasFullOfIt) {
  ScriptedCluster cluster(2);
  StoreMuch(&cluster, 0);
  StoreMuch(&cluster, 1);
  const auto consumer = Open(cluster, {.prefetch_bytes = kPrefetchBytes});
  ASSERT_TRUE(cluster.WaitUntilSent(kPrefetchBytes)) << "of partition 0 alone";
  ASSERT_TRUE(consumer->Pause(0).ok());
  const Records records = PollOk(consumer.get());
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records[0].partition, 1u);
}

}  // namespace
}  // namespace millrace::internal

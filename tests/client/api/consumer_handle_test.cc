#include "client/api/consumer_handle.h"

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/api/scripted_broker.h"

namespace millrace::internal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr size_t kPrefetchBytes = size_t{64} << 10;

std::unique_ptr<ConsumerHandle> Open(const ScriptedCluster& cluster,
                                     const ConsumerOptions& options = {}) {
  Result<std::unique_ptr<ConsumerHandle>> handle =
      ConsumerHandle::Open(cluster.runtime(), "t", options);
  EXPECT_TRUE(handle.ok()) << handle.status();
  return std::move(handle).value();
}

// 3 MB, a thousand records to a batch of 8 KB or so.
void StoreMuch(ScriptedCluster* cluster, uint32_t partition) {
  for (int i = 0; i < 400; ++i) {
    cluster->Store(partition, BatchOf(std::vector<std::string>(1000, "value")), 1000);
  }
}

Records PollOk(ConsumerHandle* consumer) {
  Result<Records> records = consumer->Poll(10s);
  EXPECT_TRUE(records.ok()) << records.status();
  return records.ok() ? std::move(records).value() : Records();
}

TEST(ConsumerHandle, Seek_ReadsOn_WhenTheQueueWasFull) {
  ScriptedCluster cluster(1);
  StoreMuch(&cluster, 0);
  const auto consumer = Open(cluster, {.prefetch_bytes = kPrefetchBytes});
  ASSERT_TRUE(cluster.WaitUntilSent(kPrefetchBytes)) << "the queue and the credit behind it";
  ASSERT_TRUE(consumer->Seek(0, Position::Earliest()).ok());
  const Records records = PollOk(consumer.get());
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records[0].offset, 0);
}

TEST(ConsumerHandle, Pause_LetsTheOtherPartitionsBeRead_WhenTheQueueWasFullOfIt) {
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

TEST(ConsumerHandle, Pause_OfAPartitionAtItsEnd_HoldsAfterASeek) {
  ScriptedCluster cluster(2);
  cluster.Store(0, BatchOf({"a"}), 1);
  const auto consumer = Open(cluster, {.partitions = {{0}}, .stop_at_end = true});
  while (!consumer->at_end()) PollOk(consumer.get());
  ASSERT_TRUE(consumer->Pause(0).ok());
  ASSERT_TRUE(consumer->Seek(0, Position::At(0)).ok());
  cluster.Store(1, BatchOf({"A"}), 1);
  ASSERT_TRUE(consumer->Assign(1, Position::At(0)).ok());
  EXPECT_EQ(PollOk(consumer.get())[0].value, "A") << "of the other partition";
  ASSERT_TRUE(consumer->Resume(0).ok());
  while (!consumer->at_end()) {
    for (const ConsumedRecord& record : PollOk(consumer.get())) EXPECT_EQ(record.value, "a");
  }
}

// A packed batch whose records are no records, with every checksum right.
Bytes BrokenBatch() {
  v1::RecordBatch batch;
  batch.set_record_count(3);
  batch.set_checksum(0);
  batch.set_packed("these are no records");
  return Bytes::Own(batch.SerializeAsString());
}

TEST(ConsumerHandle, Poll_IsBounded_HoweverWellTheRecordsWereCompressed) {
  ScriptedCluster cluster(1);
  const std::vector<std::string> values(100, std::string(10'000, 'x'));
  const Bytes batch = BatchOf(values, BatchCompression::kZstd);
  ASSERT_LT(batch.size(), 10'000u);
  for (int i = 0; i < 50; ++i) cluster.Store(0, batch, 100);
  const auto consumer = Open(cluster, {.stop_at_end = true});
  ASSERT_TRUE(cluster.WaitUntilSent(50 * batch.size()));
  size_t read = 0;
  while (!consumer->at_end()) {
    const Records records = PollOk(consumer.get());
    EXPECT_LE(records.size(), 200u) << "two batches of a megabyte";
    read += records.size();
    EXPECT_EQ(consumer->position(0), read);
  }
  EXPECT_EQ(read, 5000u);
}

TEST(ConsumerHandle, BatchThatCannotBeRead_EndsItsPartitionWithDataLoss_AndLosesNothingElse) {
  ScriptedCluster cluster(2);
  cluster.Store(0, BatchOf({"a", "b"}), 2);
  cluster.Store(0, BrokenBatch(), 3);
  cluster.Store(0, BatchOf({"f"}), 1);
  cluster.Store(1, BatchOf({"A", "B"}), 2);
  const auto consumer = Open(cluster);
  std::map<uint32_t, std::string> values;
  Status error;
  while (error.ok()) {
    const Result<Records> records = consumer->Poll(10s);
    error = records.status();
    ASSERT_TRUE(!error.ok() || !records->empty()) << "nothing came in time";
    if (!records.ok()) break;
    for (const ConsumedRecord& record : *records) values[record.partition] += *record.value;
  }
  EXPECT_EQ(values[0], "ab");
  EXPECT_EQ(error.code(), Code::kDataLoss) << error;
  EXPECT_THAT(std::string(error.message()), HasSubstr("partition 0: the batch of offsets 2 to 4"));
  EXPECT_EQ(consumer->position(0), 2);
  while (values[1].size() < 2) {
    const Records records = PollOk(consumer.get());
    ASSERT_FALSE(records.empty());
    for (const ConsumedRecord& record : records) values[record.partition] += *record.value;
  }
  EXPECT_EQ(values[0], "ab") << "not on the other side of the gap";
  EXPECT_EQ(values[1], "AB");
  ASSERT_TRUE(consumer->Seek(0, Position::At(5)).ok());
  EXPECT_EQ(PollOk(consumer.get())[0].value, "f");
}

// Compaction may leave a batch with fewer records than offsets, at its end too.
TEST(ConsumerHandle, BatchWithFewerRecordsThanItsOffsets_IsReadToItsEnd) {
  ScriptedCluster cluster(1);
  cluster.Store(0, BatchOf({"a", "b"}), 3);
  cluster.Store(0, BatchOf({"d"}), 1);
  const auto consumer = Open(cluster);
  std::vector<int64_t> offsets;
  while (offsets.size() < 3) {
    for (const ConsumedRecord& record : PollOk(consumer.get())) offsets.push_back(record.offset);
  }
  EXPECT_THAT(offsets, ElementsAre(0, 1, 3));
  EXPECT_EQ(consumer->position(0), 4);
}

// As compaction leaves a batch: the records that are left say where they were.
TEST(ConsumerHandle, OfACompactedBatch_RecordsHaveTheOffsetsThatTheyHad) {
  ScriptedCluster cluster(1);
  v1::RecordBatch batch;
  for (const int32_t delta : {0, 2, 5}) {
    batch.add_records()->set_value(std::to_string(delta));
    if (delta > 0) batch.mutable_records()->rbegin()->set_offset_delta(delta);
  }
  cluster.Store(0, Bytes::Own(batch.SerializeAsString()), 8);
  cluster.Store(0, BatchOf({"8"}), 1);
  const auto consumer = Open(cluster);
  std::vector<int64_t> offsets;
  while (offsets.size() < 4) {
    for (const ConsumedRecord& record : PollOk(consumer.get())) {
      offsets.push_back(record.offset);
      EXPECT_EQ(record.value, std::to_string(record.offset));
    }
  }
  EXPECT_THAT(offsets, ElementsAre(0, 2, 5, 8));
  EXPECT_EQ(consumer->position(0), 9);
}

std::vector<int64_t> OffsetsToTheEnd(ConsumerHandle* consumer) {
  std::vector<int64_t> offsets;
  while (!consumer->at_end()) {
    for (const ConsumedRecord& record : PollOk(consumer)) offsets.push_back(record.offset);
  }
  return offsets;
}

TEST(ConsumerHandle, Stop_EndsBeforeIt_AlsoWithinABatch) {
  ScriptedCluster cluster(2);
  cluster.Store(0, BatchOf({"a", "b", "c"}), 3);
  cluster.Store(0, BatchOf({"d"}), 1);
  cluster.Store(1, BatchOf({"A"}), 1);
  const auto consumer = Open(cluster, {.partitions = {{0}}, .stop = Position::At(2)});
  EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre(0, 1));
  ASSERT_TRUE(consumer->Assign(1, Position::Earliest()).ok());
  EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre(0)) << "partition 1 has but one";
}

TEST(ConsumerHandle, StartBehindTheStop_IsAtTheEnd_WhereTheOffsetExists) {
  ScriptedCluster cluster(1);
  cluster.Store(0, BatchOf({"a", "b", "c"}), 3);
  for (const int64_t start : {1, 2, 3}) {
    const auto consumer = Open(cluster, {.start = Position::At(start), .stop = Position::At(1)});
    EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre());
    ASSERT_TRUE(consumer->Seek(0, Position::At(0)).ok());
    EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre(0));
    ASSERT_TRUE(consumer->Seek(0, Position::At(start)).ok());
    EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre());
  }
}

TEST(ConsumerHandle, OfAllPartitions_ReadsThoseThatCome_FromTheirStart) {
  ScriptedCluster cluster(1);
  cluster.Store(0, BatchOf({"a"}), 1);
  const auto consumer = Open(cluster, {.start = Position::At(1)});
  cluster.Grow(3);
  EXPECT_EQ(consumer->partition_count(), 3U);
  cluster.Store(2, BatchOf({"A", "B"}), 2);
  const Records records = PollOk(consumer.get());
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].partition, 2U);
  EXPECT_EQ(records[0].offset, 0);
  EXPECT_EQ(consumer->position(2), 2);
}

// As those that were there when it was opened, also before anything of them came.
TEST(ConsumerHandle, PartitionsThatCame_AreAssigned) {
  ScriptedCluster cluster(1);
  const auto consumer = Open(cluster);
  EXPECT_EQ(consumer->Pause(1).code(), Code::kNotFound);
  cluster.Grow(2);
  EXPECT_EQ(consumer->Assign(1, Position::Earliest()).code(), Code::kAlreadyExists);
  ASSERT_TRUE(consumer->Pause(1).ok());
  cluster.Store(1, BatchOf({"A"}), 1);
  cluster.Store(0, BatchOf({"a"}), 1);
  EXPECT_EQ(PollOk(consumer.get())[0].partition, 0U);
  ASSERT_TRUE(consumer->Resume(1).ok());
  EXPECT_EQ(PollOk(consumer.get())[0].partition, 1U);
  EXPECT_EQ(consumer->Pause(2).code(), Code::kNotFound);
}

TEST(ConsumerHandle, OfSomePartitions_ReadsNoOthers_UntilTheyAreAssigned) {
  ScriptedCluster cluster(1);
  const auto consumer = Open(cluster, {.partitions = {{0}}});
  cluster.Grow(2);
  EXPECT_EQ(consumer->Seek(1, Position::Earliest()).code(), Code::kNotFound);
  cluster.Store(1, BatchOf({"A"}), 1);
  cluster.Store(0, BatchOf({"a"}), 1);
  EXPECT_EQ(PollOk(consumer.get())[0].partition, 0U);
  ASSERT_TRUE(consumer->Assign(1, Position::Earliest()).ok());
  EXPECT_EQ(PollOk(consumer.get())[0].partition, 1U);
}

TEST(ConsumerHandle, ThatStopsSomewhere_ReadsNoPartitionThatCameLater) {
  ScriptedCluster cluster(1);
  cluster.Store(0, BatchOf({"a"}), 1);
  const auto consumer = Open(cluster, {.stop_at_end = true});
  cluster.Grow(2);
  cluster.Store(1, BatchOf({"A"}), 1);
  EXPECT_THAT(OffsetsToTheEnd(consumer.get()), ElementsAre(0));
  EXPECT_EQ(consumer->position(1), std::nullopt);
}

TEST(ConsumerHandle, StopThatIsNone_IsRefused) {
  ScriptedCluster cluster(1);
  for (const Position stop : {Position::Earliest(), Position::At(-1)}) {
    const auto handle = ConsumerHandle::Open(cluster.runtime(), "t", {.stop = stop});
    EXPECT_EQ(handle.status().code(), Code::kInvalidArgument);
    EXPECT_THAT(std::string(handle.status().message()), HasSubstr("stop"));
  }
}

TEST(ConsumerHandle, TimeoutsForEver_Wait) {
  ScriptedCluster cluster(1);
  constexpr auto kForEver = std::chrono::milliseconds::max();
  const auto consumer = Open(cluster, {.open_timeout = kForEver});
  cluster.Later(20ms, [&] { cluster.Store(0, BatchOf({"a"}), 1); });
  const Result<Records> records = consumer->Poll(kForEver);
  ASSERT_TRUE(records.ok()) << records.status();
  EXPECT_EQ(records->size(), 1u);
}

TEST(ConsumerHandle, Open_TakesItsTimeoutOnce) {
  ScriptedCluster cluster(1);
  cluster.DelayAnswers(50ms);
  Open(cluster, {.stop_at_end = true, .open_timeout = 1s});
  EXPECT_LE(cluster.TimeoutOf("/ListOffsets"), 950ms);
}

}  // namespace
}  // namespace millrace::internal

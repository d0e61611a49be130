// The way to a partition's leader, between two brokers: one has the replica, over a group whose
// fate the test decides, the other asks for it.
#include "broker/routing/partition_client.h"

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "broker/routing/partition_messages.h"
#include "millrace/v1/record.pb.h"
#include "proto/base/checksum.h"
#include "raft/core/gap_entry.h"
#include "tests/broker/partition/lone_partition.h"
#include "tests/broker/routing/linked_forwarders.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{2};  // the first that a topic gets
constexpr BrokerId kLeader{1};
constexpr BrokerId kOther{2};

internal::v1::ControllerRecord TopicRecord() {
  internal::v1::ControllerRecord record;
  auto& topic = *record.mutable_topic_created();
  topic.set_topic_id(1);
  topic.set_name("t");
  topic.set_kind(internal::v1::TopicCreated::KIND_PARTITION_LOG);
  topic.set_leader_epoch_base(100);
  auto& partition = *topic.add_partitions();
  partition.set_group_id(kGroup.value());
  partition.set_first_configuration_stands(true);
  auto& replica = *partition.add_replicas();
  replica.set_broker_id(kLeader.value());
  replica.set_incarnation(1);
  replica.set_number(1);
  return record;
}

// One broker, as far as asking goes.
struct Side {
  Side(BrokerId self, LinkedForwarders& link, const Image& image, Executor& executor,
       Partition* partition)
      : view(image, leaders,
             {.is_current = [] { return true; }, .controller_health = [] { return Status::Ok(); }}),
        client(
            {.executor = executor,
             .view = view,
             .find_replica =
                 [partition](RaftGroupId group) { return group == kGroup ? partition : nullptr; },
             .forwarder = link.Of(self),
             .self = self}) {}

  LeaderTable leaders;
  ClusterView view;
  PartitionClient client;
};

class PartitionClientTest : public testing::Test, protected LonePartition {
 protected:
  PartitionClientTest() : LonePartition(kGroup) {
    CHECK(image_.Apply(TopicRecord()).ok());
    partition_.set_leader_epoch_base(100);
    Lead(Term(3));
  }

  template <typename T>
  static void Take(const std::shared_ptr<std::optional<Result<T>>>& got, Result<T> outcome) {
    EXPECT_FALSE(got->has_value()) << "answered twice";
    *got = std::move(outcome);
  }
  void Lead(Term term) {
    group_.Lead(term);
    leading_.leaders.Report(kGroup, {.leader = kLeader, .term = term});
    asking_.leaders.Report(kGroup, {.leader = kLeader, .term = term});
  }
  std::shared_ptr<std::optional<Result<ProduceOutcome>>> Produce(Side& side, int records) {
    v1::RecordBatch batch;
    for (int i = 0; i < records; ++i) batch.add_records()->set_value("v" + std::to_string(i));
    auto got = std::make_shared<std::optional<Result<ProduceOutcome>>>();
    side.client.Produce({}, kGroup, {.bytes = Bytes::Own(batch.SerializeAsString())},
                        [got](Result<ProduceOutcome> outcome) { Take(got, std::move(outcome)); });
    link_.Deliver();
    return got;
  }
  std::shared_ptr<std::optional<Result<ReadOutcome>>> Read(Side& side, int64_t offset,
                                                           Duration wait = Duration::zero()) {
    auto got = std::make_shared<std::optional<Result<ReadOutcome>>>();
    side.client.Read({}, kGroup, {.offset = Offset(offset), .bytes_max = 1 << 20}, wait,
                     [got](Result<ReadOutcome> outcome) { Take(got, std::move(outcome)); });
    link_.Deliver();
    return got;
  }
  std::shared_ptr<std::optional<Result<PartitionOffsets>>> Offsets(
      Side& side, std::optional<int64_t> timestamp_ms) {
    auto got = std::make_shared<std::optional<Result<PartitionOffsets>>>();
    side.client.Offsets({}, kGroup, {.timestamp_ms = timestamp_ms}, std::chrono::seconds(1),
                        [got](Result<PartitionOffsets> offsets) { Take(got, std::move(offsets)); });
    link_.Deliver();
    group_.AnswerBarriers(Status::Ok());
    link_.Deliver();
    return got;
  }
  std::shared_ptr<std::optional<Result<PartitionOffsets>>> Delete(Side& side, int64_t before) {
    auto got = std::make_shared<std::optional<Result<PartitionOffsets>>>();
    side.client.DeleteRecords({}, kGroup, Offset(before), std::chrono::seconds(1),
                              [got](Result<PartitionOffsets> done) { Take(got, std::move(done)); });
    link_.Deliver();
    group_.AnswerBarriers(Status::Ok());
    link_.Deliver();
    return got;
  }
  void Commit() {
    group_.CommitAll();
    link_.Deliver();
  }

  LinkedForwarders link_{process_.executor(), kLeader, kOther};
  Side leading_{kLeader, link_, image_, process_.executor(), &partition_};
  Side asking_{kOther, link_, image_, process_.executor(), nullptr};
};

TEST_F(PartitionClientTest, WhatAnotherBrokerDeletes_IsDeletedAtTheLeader) {
  internal::v1::ControllerRecord raised;
  raised.mutable_level_raised()->set_level(2);
  ASSERT_TRUE(image_.Apply(raised).ok());
  Produce(asking_, 5);
  Commit();
  const auto there = Delete(asking_, 3);
  EXPECT_FALSE(there->has_value());
  Commit();
  ASSERT_TRUE(there->has_value() && (*there)->ok());
  EXPECT_EQ((**there)->log_start, Offset(3));
  EXPECT_EQ((**there)->high_watermark, Offset(5));
  EXPECT_EQ((**Delete(leading_, 3))->log_start, Offset(3));
  const auto refused = Delete(asking_, 6);
  ASSERT_TRUE(refused->has_value());
  EXPECT_EQ((*refused)->status().reason(), Reason::kOffsetOutOfRange);
  EXPECT_NE((*refused)->status().message().find("3 to 5"), std::string::npos);
}

TEST_F(PartitionClientTest, WhatAnotherBrokerProducesAndReads_IsAsAtTheLeader) {
  const auto produced = Produce(asking_, 3);
  EXPECT_FALSE(produced->has_value()) << "nothing is committed";
  Commit();
  ASSERT_TRUE(produced->has_value() && (*produced)->ok());
  EXPECT_EQ((**produced)->base_offset, Offset(0));
  EXPECT_EQ((**produced)->leader_epoch, LeaderEpoch(103));
  const auto here = Read(leading_, 0);
  const auto there = Read(asking_, 0);
  ASSERT_TRUE(here->has_value() && (*here)->ok() && there->has_value() && (*there)->ok());
  const ReadOutcome& one = ***here;
  const ReadOutcome& other = ***there;
  ASSERT_EQ(one.entries.size(), 1u);
  ASSERT_EQ(other.entries.size(), 1u);
  EXPECT_EQ(one.entries[0].frame.view(), other.entries[0].frame.view());
  EXPECT_EQ(one.entries[0].index, other.entries[0].index);
  EXPECT_EQ(one.next_offset, other.next_offset);
  EXPECT_EQ(one.leader_epoch_base, other.leader_epoch_base);
  EXPECT_EQ(one.offsets.high_watermark, other.offsets.high_watermark);
  EXPECT_EQ(one.offsets.leader_epoch, other.offsets.leader_epoch);
}

TEST_F(PartitionClientTest, Offsets_TellTheSame_WithATimeAndWithout) {
  Produce(leading_, 2);
  Commit();
  for (const std::optional<int64_t> time :
       {std::optional<int64_t>(), std::optional<int64_t>(0), std::optional<int64_t>(1LL << 60)}) {
    const auto here = Offsets(leading_, time);
    const auto there = Offsets(asking_, time);
    world_.RunFor(std::chrono::milliseconds(10));
    link_.Deliver();
    ASSERT_TRUE(here->has_value() && (*here)->ok() && there->has_value() && (*there)->ok());
    const PartitionOffsets& one = ***here;
    const PartitionOffsets& other = ***there;
    EXPECT_EQ(one.high_watermark, Offset(2));
    EXPECT_EQ(one.high_watermark, other.high_watermark);
    EXPECT_EQ(one.timestamp_offset, other.timestamp_offset);
    EXPECT_EQ(one.timestamp_offset.has_value(), time.has_value());
    ASSERT_EQ(one.found.has_value(), other.found.has_value());
    if (one.found.has_value()) {
      EXPECT_EQ(one.found->timestamp_ms, other.found->timestamp_ms);
      EXPECT_EQ(one.found->leader_epoch, other.found->leader_epoch);
    }
  }
}

TEST_F(PartitionClientTest, AReadAtTheEnd_WaitsForTheNextRecord) {
  const auto here = Read(leading_, 0, std::chrono::seconds(5));
  const auto there = Read(asking_, 0, std::chrono::seconds(5));
  world_.RunFor(std::chrono::seconds(1));
  link_.Deliver();
  EXPECT_FALSE(here->has_value());
  EXPECT_FALSE(there->has_value());
  Produce(leading_, 1);
  Commit();
  for (const auto& got : {here, there}) {
    ASSERT_TRUE(got->has_value() && (*got)->ok());
    EXPECT_EQ((**got)->entries.size(), 1u);
  }
  world_.RunFor(std::chrono::seconds(10));  // past the time that they would have waited
  link_.Deliver();
}

// What stands in segments for records that compaction left nothing of: `count` times one.
std::vector<raft::core::Entry> Gaps(int count) {
  std::vector<raft::core::Entry> gaps;
  for (int i = 0; i < count; ++i) {
    gaps.push_back(raft::core::GapEntry({.group = kGroup,
                                         .term = Term(1),
                                         .first = LogIndex(static_cast<uint64_t>(i) + 1),
                                         .last = LogIndex(static_cast<uint64_t>(i) + 1),
                                         .base_offset = Offset(i),
                                         .offset_span = 1}));
  }
  return gaps;
}

TEST_F(PartitionClientTest, AReadThatFindsNothing_GoesOnToWhatThereIs) {
  for (int i = 0; i < 6; ++i) Produce(leading_, 1);
  Commit();
  store_.from_offset = Gaps(4);
  store_.from_offset.push_back(group_.log().At(LogIndex(5)));
  store_.entries_per_read = 1;
  group_.TrimTo(LogIndex(5));
  for (Side* side : {&leading_, &asking_}) {
    store_.reads_from_offset = 0;
    const auto got = Read(*side, 1, std::chrono::seconds(5));
    ASSERT_TRUE(got->has_value() && (*got)->ok());
    ASSERT_EQ((**got)->entries.size(), 1u);
    EXPECT_EQ((**got)->entries[0].index, LogIndex(5));
    EXPECT_EQ((**got)->next_offset, Offset(5));
    EXPECT_EQ(store_.reads_from_offset, 4u) << "each gap once";
  }
  store_.from_offset = Gaps(5);
  const auto from_memory = Read(leading_, 4);
  ASSERT_TRUE(from_memory->has_value() && (*from_memory)->ok());
  EXPECT_EQ((**from_memory)->entries.front().index, LogIndex(6))
      << "which segments do not have yet";
}

TEST_F(PartitionClientTest, AReadThatFindsNothingForLong_SaysHowFarItCame) {
  Produce(leading_, 100);
  Commit();
  group_.TrimTo(LogIndex(1));
  store_.from_offset = Gaps(100);
  store_.entries_per_read = 1;
  const auto got = Read(leading_, 0, std::chrono::seconds(5));
  ASSERT_TRUE(got->has_value() && (*got)->ok());
  EXPECT_TRUE((**got)->entries.empty());
  EXPECT_EQ((**got)->next_offset, Offset(16));
  EXPECT_EQ(store_.reads_from_offset, 16u);
  store_.entries_per_read = 100;
  const auto to_the_end = Read(leading_, 16, std::chrono::seconds(5));
  ASSERT_TRUE(to_the_end->has_value()) << "who stops at the end must know that it is there";
  EXPECT_EQ((**to_the_end)->next_offset, Offset(100));
}

TEST_F(PartitionClientTest, AStop_LeavesWhoWaitsUnanswered_AndSendsNothing) {
  const auto there = Read(asking_, 0, std::chrono::seconds(5));
  const auto produced = Produce(asking_, 1);
  link_.Of(kLeader).Stop();
  link_.Of(kOther).Stop();
  Commit();
  world_.RunFor(std::chrono::seconds(20));
  link_.Deliver();
  EXPECT_FALSE(there->has_value());
  EXPECT_FALSE(produced->has_value());
  const auto later = Produce(asking_, 1);
  ASSERT_TRUE(later->has_value());
  EXPECT_EQ((*later)->status().code(), Code::kUnavailable);
  EXPECT_EQ(link_.delivered(), 2) << "the two questions";
}

TEST_F(PartitionClientTest, WhatNobodyWrites_ItAnswersWithoutRecordsInTheEnd) {
  const auto there = Read(asking_, 0, std::chrono::seconds(5));
  world_.RunFor(std::chrono::seconds(4));
  link_.Deliver();
  EXPECT_FALSE(there->has_value());
  world_.RunFor(std::chrono::seconds(2));
  link_.Deliver();
  ASSERT_TRUE(there->has_value() && (*there)->ok());
  EXPECT_TRUE((**there)->entries.empty());
  EXPECT_EQ((**there)->next_offset, Offset(0));
}

TEST_F(PartitionClientTest, ALeaderThatIsLost_AnswersWhoWaits) {
  const auto there = Read(asking_, 0, std::chrono::seconds(5));
  group_.Follow(Term(4));
  link_.Deliver();
  ASSERT_TRUE(there->has_value());
  EXPECT_EQ((*there)->status().reason(), Reason::kNotLeader);
}

TEST_F(PartitionClientTest, WithoutALeader_ItSaysSo_AndAsksNobody) {
  group_.Follow(Term(4));
  leading_.leaders.Lost(kGroup, Term(4));
  asking_.leaders.Lost(kGroup, Term(4));
  for (Side* side : {&leading_, &asking_}) {
    const auto produced = Produce(*side, 1);
    ASSERT_TRUE(produced->has_value());
    EXPECT_EQ((*produced)->status().reason(), Reason::kNotLeader);
  }
  EXPECT_EQ(link_.delivered(), 0);
}

// It was told of a leader that is none any more; the answer is that one's, and goes no further.
TEST_F(PartitionClientTest, AHintThatIsOld_EndsInNotLeader_AfterOneHop) {
  group_.Follow(Term(4));
  const auto produced = Produce(asking_, 1);
  ASSERT_TRUE(produced->has_value());
  EXPECT_EQ((*produced)->status().reason(), Reason::kNotLeader);
  EXPECT_EQ(link_.delivered(), 2) << "the question and its answer";
}

// No hint of a healthy cluster says so; it is for what nobody has thought of.
TEST_F(PartitionClientTest, ALeaderOlderThanTheOneThatIsMeant_Refuses) {
  asking_.leaders.Report(kGroup, {.leader = kLeader, .term = Term(4)});
  const auto early = Produce(asking_, 1);
  ASSERT_TRUE(early->has_value());
  EXPECT_EQ((*early)->status().reason(), Reason::kNotLeader);
  EXPECT_EQ(group_.log().last_index(), LogIndex(0)) << "nothing was appended";
  group_.Lead(Term(5));
  const auto later = Produce(asking_, 1);
  Commit();
  ASSERT_TRUE(later->has_value());
  EXPECT_TRUE((*later)->ok()) << "a newer one will do";
}

TEST_F(PartitionClientTest, AnErrorOfThePartition_ComesBackAsItIs) {
  group_.refusal = ResourceExhausted("the journal is full", Reason::kDiskFull).RetryAfterMs(70);
  const auto produced = Produce(asking_, 1);
  ASSERT_TRUE(produced->has_value());
  EXPECT_EQ((*produced)->status().reason(), Reason::kDiskFull);
  EXPECT_EQ((*produced)->status().retry_after_ms(), 70);
}

TEST(PartitionMessages, EveryTruncationOfARead_IsAnErrorOrWholeEntries) {
  ReadOutcome outcome{.offsets = {}, .entries = {}, .next_offset = Offset(2)};
  for (uint64_t i = 0; i < 2; ++i) {
    Buffer buffer = AllocateFrame(5);
    std::memcpy(FramePayload(buffer), "hello", 5);
    const uint32_t crc = Crc32c("hello");
    raft::core::Entry& entry = outcome.entries.emplace_back();
    entry.frame = SealFrame({.type = FrameType::kRecordBatch,
                             .payload_size = 5,
                             .index = LogIndex(i + 1),
                             .payload_crc = crc,
                             .stored_crc = crc},
                            std::move(buffer));
  }
  std::string whole;
  for (const Bytes& piece : EncodeReadReply(outcome)) whole += piece.view();
  ASSERT_EQ(DecodeReadReply(Bytes::CopyOf(whole))->entries.size(), 2u);
  int read_count = 0;
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto read = DecodeReadReply(Bytes::CopyOf(std::string_view(whole).substr(0, size)));
    if (!read.ok()) continue;
    EXPECT_LT(read->entries.size(), 2u) << size;
    ++read_count;
  }
  EXPECT_EQ(read_count, 2) << "without frames, and with one";
  std::string rotten = whole;
  rotten[whole.size() - 8] ^= 1;  // in the last payload
  EXPECT_EQ(DecodeReadReply(Bytes::CopyOf(rotten)).status().code(), Code::kDataLoss);
}

TEST(PartitionMessages, ABatchThatWasCompacted_IsHandedToAReader_WithHowFarTheReadCame) {
  ReadOutcome outcome{.offsets = {}, .entries = {}, .next_offset = Offset(9)};
  outcome.entries.emplace_back().frame = SealFrame({.type = FrameType::kRecordBatch,
                                                    .flags = kFrameCompacted | kFramePacked,
                                                    .index = LogIndex(1),
                                                    .offset_span = 3,
                                                    .record_count = 1,
                                                    .payload_crc = 7},
                                                   AllocateFrame(0));
  std::string whole;
  for (const Bytes& piece : EncodeReadReply(outcome)) whole += piece.view();
  const Result<ReadOutcome> read = DecodeReadReply(Bytes::CopyOf(whole));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->entries.size(), 1u);
  EXPECT_EQ(read->next_offset, Offset(9));
}

TEST(PartitionMessages, ALogEntryThatIsNoBatch_IsNotHandedToAReader) {
  ReadOutcome outcome{.offsets = {}, .entries = {}, .next_offset = Offset(1)};
  outcome.entries.emplace_back().frame = SealFrame(
      {.type = FrameType::kNoOp, .flags = kFrameControl, .index = LogIndex(1)}, AllocateFrame(0));
  std::string whole;
  for (const Bytes& piece : EncodeReadReply(outcome)) whole += piece.view();
  EXPECT_EQ(DecodeReadReply(Bytes::CopyOf(whole)).status().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::broker

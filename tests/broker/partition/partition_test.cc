// A partition over a group whose fate the test decides.
#include "broker/partition/partition.h"

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "broker/partition/compaction/batch_compaction.h"
#include "millrace/v1/record.pb.h"
#include "proto/record/record_batch_builder.h"
#include "raft/core/gap_entry.h"
#include "tests/broker/partition/lone_partition.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{7};

struct Sequenced {
  ProducerId producer;
  uint32_t first = 0;
};

class PartitionTest : public testing::Test, protected LonePartition {
 protected:
  PartitionTest() : LonePartition(kGroup) {}

  void SetUp() override {
    internal::v1::ControllerRecord drawn;
    drawn.mutable_producer_id_key_drawn()->set_key(key_);
    ASSERT_TRUE(image_.Apply(drawn).ok());
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(1));
  }

  std::optional<Result<ProduceOutcome>>& Produce(int records, Sequenced sequenced = Sequenced()) {
    v1::RecordBatch batch;
    for (int i = 0; i < records; ++i) batch.add_records()->set_value("v");
    batch.set_producer_id(sequenced.producer.value());
    batch.set_first_sequence(sequenced.first);
    auto& outcome =
        *outcomes_.emplace_back(std::make_unique<std::optional<Result<ProduceOutcome>>>());
    partition_.Produce({.bytes = Bytes::Own(batch.SerializeAsString())},
                       [&outcome](Result<ProduceOutcome> done) { outcome = std::move(done); });
    return outcome;
  }
  // A batch whose records have these keys, or none where there is no value.
  std::optional<Result<ProduceOutcome>>& ProduceKeyed(
      const std::vector<std::optional<std::string>>& keys,
      const RecordBatchBuilder::Header& header) {
    RecordBatchBuilder builder({});
    for (const auto& key : keys) CHECK(builder.TryAppend({.key = key, .value = "v"}));
    auto& outcome =
        *outcomes_.emplace_back(std::make_unique<std::optional<Result<ProduceOutcome>>>());
    partition_.Produce({.bytes = std::move(builder).Finish(header)},
                       [&outcome](Result<ProduceOutcome> done) { outcome = std::move(done); });
    world_.RunFor(std::chrono::milliseconds(1));  // compressed ones are checked beside the shard
    return outcome;
  }
  std::optional<Result<ReadOutcome>> Read(uint64_t offset, uint64_t bytes_max = 1 << 20) {
    std::optional<Result<ReadOutcome>> outcome;
    partition_.Read({.offset = Offset(offset), .bytes_max = bytes_max},
                    [&outcome](Result<ReadOutcome> done) { outcome = std::move(done); });
    return outcome;
  }
  // What segments say first is on its way to the partition while `meanwhile` is done.
  std::optional<Result<PartitionOffsets>> Offsets(
      const OffsetsQuery& query, const std::function<void()>& meanwhile = [] {}) {
    std::optional<Result<PartitionOffsets>> found;
    partition_.Offsets(query,
                       [&found](Result<PartitionOffsets> offsets) { found = std::move(offsets); });
    group_.AnswerBarriers(Status::Ok());
    meanwhile();
    world_.RunFor(std::chrono::milliseconds(1));
    return found;
  }
  void ProduceAt(const std::vector<int64_t>& times_ms) {
    RecordBatchBuilder builder({});
    for (const int64_t time_ms : times_ms) {
      CHECK(builder.TryAppend({.key = "k", .timestamp_ms = time_ms}));
    }
    partition_.Produce({.bytes = std::move(builder).Finish({.destination = partition_.name()})},
                       [](const Result<ProduceOutcome>&) {});
    group_.CommitAll();
  }
  // All that is in the log is in segments alone.
  void MoveToSegments() {
    raft::MemoryLogStore::Group& stored = store_.groups[kGroup];
    for (LogIndex at = stored.committed + 1; at <= group_.log().last_index(); ++at) {
      stored.entries.push_back(group_.log().At(at));
    }
    stored.committed = group_.log().last_index();
    group_.TrimTo(stored.committed);
  }
  ProducerId Producer() { return MarkProducer(key_, kProducerNumberMin); }

  const std::string key_ = std::string(kProducerIdKeyBytes, 'k');
  std::vector<std::unique_ptr<std::optional<Result<ProduceOutcome>>>> outcomes_;
};

TEST_F(PartitionTest, ABatch_IsAnsweredOnceItIsCommitted_AndOffsetsFollowOn) {
  const auto& first = Produce(3);
  const auto& second = Produce(2);
  EXPECT_FALSE(first.has_value());
  EXPECT_EQ(partition_.high_watermark(), Offset(0)) << "nothing is committed";
  group_.CommitAll();
  ASSERT_TRUE(first.has_value() && first->ok());
  EXPECT_EQ((*first)->base_offset, Offset(0));
  EXPECT_EQ((*first)->leader_epoch, LeaderEpochOf(100, Term(1)));
  ASSERT_TRUE(second.has_value() && second->ok());
  EXPECT_EQ((*second)->base_offset, Offset(3));
  EXPECT_EQ(partition_.high_watermark(), Offset(5));
}

TEST_F(PartitionTest, ARecordWithoutAKey_IsRefusedWithItsBatch_WhereKeysAreCompacted) {
  const std::vector<std::optional<std::string>> keys{"a", "", std::nullopt, std::nullopt};
  const std::string many(1'000, 'k');
  for (const auto compression : {BatchCompression::kNone, BatchCompression::kZstd}) {
    const RecordBatchBuilder::Header header{.destination = partition_.name(),
                                            .compression = compression};
    partition_.set_settings({.compaction = {.is_compacted = true}});
    const auto& refused = ProduceKeyed({many, "", std::nullopt, std::nullopt}, header);
    ASSERT_TRUE(refused.has_value());
    EXPECT_EQ(refused->status().code(), Code::kInvalidArgument);
    EXPECT_THAT(refused->status().message(), testing::HasSubstr("record 2 has no key"));
    EXPECT_EQ(group_.next_offset(), Offset(0)) << "nothing of it is appended";
    EXPECT_FALSE(ProduceKeyed({many, ""}, header).has_value()) << "it waits for its commit";
    partition_.set_settings({});
    EXPECT_FALSE(ProduceKeyed(keys, header).has_value());
    group_.CutUncommitted();
  }
}

TEST_F(PartitionTest, ABatchWithoutKeys_ThatIsSentAgain_IsADuplicate_ThoughTheTopicIsCompactedNow) {
  const RecordBatchBuilder::Header header{.producer_id = Producer(),
                                          .destination = partition_.name()};
  const auto& first = ProduceKeyed({std::nullopt}, header);
  group_.CommitAll();
  ASSERT_TRUE(first.has_value() && first->ok());
  partition_.set_settings({.compaction = {.is_compacted = true}});
  const auto& again = ProduceKeyed({std::nullopt}, header);
  ASSERT_TRUE(again.has_value() && again->ok());
  EXPECT_TRUE((*again)->is_duplicate);
}

TEST_F(PartitionTest, WhatIsNotCommitted_IsNotRead) {
  Produce(1);
  group_.CommitAll();
  Produce(1);
  const auto read = Read(0);
  ASSERT_TRUE(read.has_value() && read->ok());
  EXPECT_EQ((*read)->entries.size(), 1U);
  EXPECT_EQ((*read)->next_offset, Offset(1));
  EXPECT_TRUE((*Read(1))->entries.empty());
}

TEST_F(PartitionTest, ARead_BeginsWithTheBatchThatHoldsItsOffset) {
  for (int i = 0; i < 5; ++i) Produce(2);
  group_.CommitAll();
  const auto read = Read(5, 1);
  ASSERT_TRUE(read.has_value() && read->ok());
  ASSERT_EQ((*read)->entries.size(), 1U) << "one always passes";
  EXPECT_EQ((*read)->entries[0].frame.header().base_offset, Offset(4));
  EXPECT_EQ((*read)->next_offset, Offset(6));
}

TEST_F(PartitionTest, AReaderOfMemory_ComesPastWhatHoldsNoRecords_WithoutAnEmptyAnswer) {
  Produce(2);
  for (int i = 0; i < 10'000; ++i) {
    const auto proposed = group_.Propose(raft::ProposalClass::kBulk,
                                         {.type = FrameType::kNoOp,
                                          .flags = kFrameControl,
                                          .base_offset = group_.next_offset(),
                                          .append_time_ms = group_.last_append_time_ms()},
                                         AllocateFrame(0));
    ASSERT_TRUE(proposed.ok()) << proposed.status();
  }
  Produce(2);
  group_.CommitAll();
  const auto first = Read(0, 1000);
  ASSERT_TRUE(first.has_value() && first->ok());
  EXPECT_EQ((*first)->entries.size(), 2U) << "within the bytes are both";
  const auto second = Read(2, 1);
  ASSERT_TRUE(second.has_value() && second->ok());
  ASSERT_EQ((*second)->entries.size(), 1U);
  EXPECT_EQ((*second)->entries[0].index, LogIndex(10'002));
}

// What stands in segments for an entry that compaction left nothing of.
raft::core::Entry Gap(uint64_t base, uint32_t span) {
  return raft::core::GapEntry({.group = kGroup,
                               .term = Term(1),
                               .first = LogIndex(1),
                               .last = LogIndex(1),
                               .base_offset = Offset(base),
                               .offset_span = span});
}

TEST_F(PartitionTest, AReadWhereNothingIsLeft_MovesOn) {
  for (int i = 0; i < 3; ++i) Produce(2);
  group_.CommitAll();
  const raft::core::Entry batch = group_.log().At(LogIndex(2));
  group_.TrimTo(LogIndex(3));
  store_.from_offset = {Gap(0, 2)};
  const auto nothing = Read(0);
  ASSERT_TRUE(nothing.has_value() && nothing->ok());
  EXPECT_TRUE((*nothing)->entries.empty());
  EXPECT_EQ((*nothing)->next_offset, Offset(2));
  store_.from_offset = {Gap(0, 2), batch, Gap(4, 2)};
  const auto something = Read(1);
  ASSERT_TRUE(something.has_value() && something->ok());
  EXPECT_EQ((*something)->entries.size(), 1U);
  EXPECT_EQ((*something)->next_offset, Offset(6)) << "what follows holds nothing either";
  store_.from_offset = {batch, batch, Gap(4, 2)};
  EXPECT_EQ((*Read(2, 1))->next_offset, Offset(4)) << "not past what did not fit";
}

TEST_F(PartitionTest, ATime_IsReachedByTheFirstRecordThatIsLeft) {
  ProduceAt({100, 200, 300, 400});
  MoveToSegments();
  Frame& frame = store_.groups[kGroup].entries[0].frame;
  const Result<CompactedBatch> compacted =
      CompactBatch(frame, partition_.name(), [](const KeyedRecord& record) {
        return record.offset != Offset(0) && record.offset != Offset(2);
      });
  ASSERT_TRUE(compacted.ok()) << compacted.status();
  frame = compacted->frame;
  const auto found = Offsets({.timestamp_ms = 250});
  ASSERT_TRUE(found.has_value() && found->ok());
  EXPECT_EQ((*found)->timestamp_offset, Offset(3));
  ASSERT_TRUE((*found)->found.has_value());
  EXPECT_EQ((*found)->found->timestamp_ms, 400);
}

// What was found is read afterwards.
TEST_F(PartitionTest, ATime_WhoseRecordGoesWhileItIsLookedUp_IsReachedByTheNext) {
  ProduceAt({300});
  MoveToSegments();
  ProduceAt({400});
  const auto found =
      Offsets({.timestamp_ms = 250}, [this] { store_.groups[kGroup].entries[0] = Gap(0, 1); });
  ASSERT_TRUE(found.has_value());
  ASSERT_TRUE(found->ok()) << found->status();
  EXPECT_EQ((*found)->timestamp_offset, Offset(1));
}

TEST_F(PartitionTest, TheNewestRecord_ThatGoesWhileItIsLookedUp_LeavesTheNewestOfTheOthers) {
  ProduceAt({400});
  ProduceAt({300});
  MoveToSegments();
  const auto found = Offsets({.timestamp_ms = std::nullopt, .is_newest = true},
                             [this] { store_.groups[kGroup].entries[0] = Gap(0, 1); });
  ASSERT_TRUE(found.has_value() && found->ok());
  ASSERT_TRUE((*found)->found.has_value()) << "there is one left";
  EXPECT_EQ((*found)->found->offset, Offset(1));
  EXPECT_EQ((*found)->found->timestamp_ms, 300);
}

TEST_F(PartitionTest, ARecord_ThatComesWhileTheNewestWaitsForItsTurn_IsTheNewest) {
  ProduceAt({300});
  MoveToSegments();
  std::optional<Turns::Turn> turn;
  lookups_.Take([&turn](Turns::Turn taken) { turn.emplace(std::move(taken)); });
  const auto found = Offsets({.timestamp_ms = std::nullopt, .is_newest = true}, [&] {
    ProduceAt({400});
    turn->End();
  });
  ASSERT_TRUE(found.has_value() && found->ok());
  ASSERT_TRUE((*found)->found.has_value());
  EXPECT_EQ((*found)->found->offset, Offset(1));
  EXPECT_EQ((*found)->high_watermark, Offset(2));
}

TEST_F(PartitionTest, OfNoRecords_NoneIsTheNewest) {
  store_.groups[kGroup] = {};
  const auto found = Offsets({.timestamp_ms = std::nullopt, .is_newest = true});
  ASSERT_TRUE(found.has_value() && found->ok());
  EXPECT_FALSE((*found)->found.has_value());
}

TEST_F(PartitionTest, WhenARecordWasAppended_IsExactInMemory_AndAsSegmentsTellBehind) {
  const auto find = [this](int64_t offset) {
    std::optional<Result<raft::AppendTime>> found;
    partition_.FindAppendTime(Offset(offset),
                              [&found](Result<raft::AppendTime> time) { found = std::move(time); });
    world_.RunFor(std::chrono::milliseconds(1));
    return found;
  };
  Produce(3);
  group_.CommitAll();
  const int64_t first_ms = partition_.last_append_time_ms();
  MoveToSegments();
  world_.RunFor(std::chrono::seconds(5));
  Produce(2);
  group_.CommitAll();
  const int64_t second_ms = partition_.last_append_time_ms();
  ASSERT_GE(second_ms - first_ms, 5000);
  for (const int64_t offset : {3, 4}) {
    EXPECT_EQ(find(offset).value().value(), (raft::AppendTime{second_ms, second_ms})) << offset;
  }
  EXPECT_EQ(find(2).value().value(), (raft::AppendTime{first_ms - 1000, first_ms + 1000}));
  EXPECT_EQ(find(5)->status().code(), Code::kOutOfRange);
  EXPECT_EQ(find(-1)->status().code(), Code::kOutOfRange);
  group_.Follow(Term(2));
  EXPECT_EQ(find(3)->status().reason(), Reason::kNotLeader);
}

TEST_F(PartitionTest, LostLeadership_AnswersAllThatWaits_AndForgetsWhatWasInFlight) {
  const auto& cut = Produce(1, {Producer(), 0});
  bool is_woken = false;
  partition_.Wait({.offset = Offset(0)}, [&is_woken] { is_woken = true; });
  group_.Follow(Term(2));
  ASSERT_TRUE(cut.has_value());
  EXPECT_EQ(cut->status().reason(), Reason::kNotLeader);
  EXPECT_TRUE(is_woken);
  const auto& refused = Produce(1);
  EXPECT_EQ(refused->status().reason(), Reason::kNotLeader);
  group_.CutUncommitted();
  group_.Lead(Term(3));
  const auto& again = Produce(1, {Producer(), 0});
  group_.CommitAll();
  ASSERT_TRUE(again.has_value() && again->ok());
  EXPECT_FALSE((*again)->is_duplicate);
}

TEST_F(PartitionTest, ADuplicate_WaitsForItsOriginal_AndIsToldItsOffset) {
  const auto& original = Produce(2, {Producer(), 0});
  const auto& duplicate = Produce(2, {Producer(), 0});
  EXPECT_FALSE(duplicate.has_value());
  group_.CommitAll();
  ASSERT_TRUE(original.has_value() && duplicate.has_value());
  EXPECT_FALSE((*original)->is_duplicate);
  EXPECT_TRUE((*duplicate)->is_duplicate);
  EXPECT_EQ((*duplicate)->base_offset, (*original)->base_offset);
  EXPECT_EQ(group_.log().last_index(), LogIndex(1));
}

// Who no longer leads, and does not know it yet, may lack what the producer was acknowledged.
TEST_F(PartitionTest, ARefusalOfASequence_IsSpokenOnlyByAConfirmedLeader) {
  Produce(1, {Producer(), 0});
  group_.CommitAll();
  const auto& gap = Produce(1, {Producer(), 7});
  EXPECT_FALSE(gap.has_value());
  group_.AnswerBarriers(Status::Ok());
  EXPECT_EQ(gap->status().reason(), Reason::kSequenceGap);
  const auto& unconfirmed = Produce(1, {Producer(), 7});
  group_.AnswerBarriers(Unavailable("lost", Reason::kNotLeader));
  EXPECT_EQ(unconfirmed->status().reason(), Reason::kNotLeader);
}

TEST_F(PartitionTest, AnIdThatNobodyGave_IsRefused) {
  const auto& made_up = Produce(1, {ProducerId(5), 0});
  ASSERT_TRUE(made_up.has_value());
  EXPECT_EQ(made_up->status().reason(), Reason::kUnknownProducer);
  EXPECT_EQ(group_.log().last_index(), LogIndex(0));
}

TEST_F(PartitionTest, AProposalThatIsRefused_LeavesNothingBehind) {
  group_.refusal = ResourceExhausted("full", Reason::kThrottled);
  const auto& refused = Produce(1, {Producer(), 0});
  EXPECT_EQ(refused->status().reason(), Reason::kThrottled);
  group_.refusal = Status::Ok();
  const auto& taken = Produce(1, {Producer(), 0});
  group_.CommitAll();
  ASSERT_TRUE(taken.has_value() && taken->ok());
  EXPECT_EQ((*taken)->base_offset, Offset(0));
}

TEST_F(PartitionTest, AppendTimes_NeverGoBack_WhateverTheClockDoes) {
  Produce(1);
  world_.RunFor(std::chrono::milliseconds(10));
  process_.SetWallOffset(-60'000);
  Produce(1);
  group_.CommitAll();
  EXPECT_GE(group_.log().At(LogIndex(2)).frame.header().append_time_ms,
            group_.log().At(LogIndex(1)).frame.header().append_time_ms);
}

// The store of this test has no offsets, so that it stands for segments that fail to be read.
TEST_F(PartitionTest, SegmentsThatCannotBeRead_AreReported_AndTheReaderIsTold) {
  Produce(1);
  Produce(1);
  group_.CommitAll();
  group_.TrimTo(LogIndex(1));
  const auto read = Read(0);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->status().code(), Code::kUnimplemented);
  ASSERT_EQ(group_.unreadable.size(), 1U);
  EXPECT_TRUE((*Read(1)).ok()) << "the tail is here";
  group_.told_of_unreadable = Unavailable("it is being repaired");
  EXPECT_EQ(Read(0)->status(), group_.told_of_unreadable);
}

// Another reader may meet the damage while a lookup waits for its turn.
TEST_F(PartitionTest, ALookupByTime_WhoseReplicaFellSilentMeanwhile_IsToldSo) {
  Produce(1);
  group_.CommitAll();
  std::optional<Turns::Turn> held;
  lookups_.Take([&held](Turns::Turn turn) { held.emplace(std::move(turn)); });
  std::optional<Status> answer;
  partition_.Offsets({.timestamp_ms = 1},
                     [&answer](const Result<PartitionOffsets>& done) { answer = done.status(); });
  group_.AnswerBarriers(Status::Ok());
  EXPECT_FALSE(answer.has_value());
  group_.FallSilent(DataLoss("entry 4 is rotten"));
  held.reset();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->reason(), Reason::kNotLeader);
}

TEST_F(PartitionTest, AnOffsetBeyondTheEnd_IsRefusedWithBothEnds_OnceTheLeaderIsConfirmed) {
  Produce(2);
  group_.CommitAll();
  std::optional<Status> refused;
  partition_.Read({.offset = Offset(9), .bytes_max = 1},
                  [&refused](const Result<ReadOutcome>& done) { refused = done.status(); });
  EXPECT_FALSE(refused.has_value());
  group_.AnswerBarriers(Status::Ok());
  EXPECT_EQ(refused->reason(), Reason::kOffsetOutOfRange);
  EXPECT_NE(refused->message().find("0 to 2"), std::string::npos) << *refused;
}

}  // namespace
}  // namespace millrace::broker

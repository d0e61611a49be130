// Transactions in one partition, over a group whose fate the test decides and a shard that
// registers when the test says so. Rules are those of docs/adr/0018-transactions.md.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "broker/controller/producer_id.h"
#include "broker/partition/partition.h"
#include "proto/record/record_batch_builder.h"
#include "raft/runtime/random.h"
#include "tests/broker/partition/lone_partition.h"

namespace millrace::broker {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr RaftGroupId kGroup(7);

using Outcome = std::optional<Result<ProduceOutcome>>;

class TransactionsTest : public testing::Test, protected LonePartition {
 protected:
  TransactionsTest() : LonePartition(kGroup) {}

  void SetUp() override {
    internal::v1::ControllerRecord drawn;
    drawn.mutable_producer_id_key_drawn()->set_key(key_);
    ASSERT_TRUE(image_.Apply(drawn).ok());
    SetLevel(kTransactionLevel);
    store_.groups[kGroup];
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(1));
  }
  void SetLevel(uint32_t level) {
    internal::v1::ControllerRecord record;
    record.mutable_level_raised()->set_level(level);
    ASSERT_TRUE(image_.Apply(record).ok());
  }

  ProducerId Producer(uint64_t i) { return MarkProducer(key_, kProducerNumberMin + i); }
  TransactionName Name(uint64_t producer, uint64_t number, uint32_t epoch = 0) {
    return {.producer = Producer(producer), .epoch = epoch, .number = number};
  }

  // A batch of one record, the next one in sequence of its producer's epoch.
  const Outcome& Send(const TransactionName& name) {
    return SendAt(name, sequences_[{name.producer, name.epoch}]++);
  }
  const Outcome& SendAt(const TransactionName& name, uint32_t sequence,
                        BatchCompression compression = BatchCompression::kNone) {
    RecordBatchBuilder builder({});
    CHECK(builder.TryAppend({.value = std::string(500, 'v')}));
    SentBatch batch{.bytes = std::move(builder).Finish({.producer_id = name.producer,
                                                        .producer_epoch = name.epoch,
                                                        .first_sequence = sequence,
                                                        .transaction_number = name.number,
                                                        .destination = partition_.name(),
                                                        .compression = compression})};
    Outcome& outcome = *outcomes_.emplace_back(std::make_unique<Outcome>());
    partition_.Produce(std::move(batch),
                       [&outcome](Result<ProduceOutcome> done) { outcome = std::move(done); });
    return outcome;
  }
  // The same, registered and committed.
  void Write(const TransactionName& name) {
    const Outcome& outcome = Send(name);
    if (!registrar_.asked.empty()) registrar_.Answer(Status::Ok());
    group_.CommitAll();
    ASSERT_TRUE(outcome.has_value() && outcome->ok());
  }
  void WritePlain() { Write({}); }

  const std::optional<Status>& End(const TransactionName& name, bool is_committed) {
    auto& ended = *ended_.emplace_back(std::make_unique<std::optional<Status>>());
    partition_.EndTransaction({.name = name,
                               .is_committed = is_committed,
                               .reason = internal::v1::TRANSACTION_END_REASON_ASKED},
                              [&ended](Status status) { ended = std::move(status); });
    return ended;
  }
  void Commit(const TransactionName& name) { EndAndApply(name, true); }
  void Abort(const TransactionName& name) { EndAndApply(name, false); }
  void EndAndApply(const TransactionName& name, bool is_committed) {
    const auto& ended = End(name, is_committed);
    group_.CommitAll();
    ASSERT_TRUE(ended.has_value());
    EXPECT_TRUE(ended->ok()) << *ended;
  }

  std::optional<Result<ReadOutcome>> ReadAt(int64_t offset, Isolation isolation) {
    std::optional<Result<ReadOutcome>> read;
    partition_.Read({.offset = Offset(offset), .bytes_max = UINT64_MAX, .isolation = isolation},
                    [&read](Result<ReadOutcome> outcome) { read = std::move(outcome); });
    world_.RunFor(std::chrono::milliseconds(1));
    return read;
  }
  // Offsets of the batches that a reader is given from there on.
  std::vector<int64_t> OffsetsFrom(int64_t offset, Isolation isolation = Isolation::kCommitted) {
    const auto read = ReadAt(offset, isolation);
    if (!read.has_value() || !read->ok()) return {-1};
    std::vector<int64_t> offsets;
    for (const raft::core::Entry& entry : (*read)->entries) {
      offsets.push_back(entry.frame.header().base_offset.value());
    }
    return offsets;
  }
  LogIndex last_index() { return group_.log().last_index(); }

  const std::string key_ = std::string(kProducerIdKeyBytes, 'k');
  std::map<std::pair<ProducerId, uint32_t>, uint32_t> sequences_;
  std::vector<std::unique_ptr<Outcome>> outcomes_;
  std::vector<std::unique_ptr<std::optional<Status>>> ended_;
};

void ExpectRefused(const Outcome& outcome, Code code, Reason reason) {
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->status().code(), code) << outcome->status();
  EXPECT_EQ(outcome->status().reason(), reason) << outcome->status();
}

// Writing ---------------------------------------------------------------------------------------

TEST_F(TransactionsTest, Rule59_TheFirstBatch_IsAppended_OnceTheTransactionIsRegistered) {
  const auto& first = Send(Name(1, 1));
  const auto& second = Send(Name(1, 1));
  EXPECT_EQ(last_index(), LogIndex(0));
  ASSERT_EQ(registrar_.asked.size(), 1U) << "once for both";
  EXPECT_EQ(registrar_.asked[0].participant, kGroup);
  EXPECT_EQ(registrar_.asked[0].name, Name(1, 1));
  registrar_.Answer(Status::Ok());
  EXPECT_EQ(last_index(), LogIndex(2)) << "in their order";
  group_.CommitAll();
  ASSERT_TRUE(first.has_value() && first->ok() && second.has_value() && second->ok());
  EXPECT_EQ((*first)->base_offset, Offset(0));
  EXPECT_EQ((*second)->base_offset, Offset(1));
  const auto& third = Send(Name(1, 1));
  EXPECT_THAT(registrar_.asked, IsEmpty()) << "it is open";
  group_.CommitAll();
  EXPECT_TRUE(third->ok());
}

TEST_F(TransactionsTest, WhatCannotBeRegistered_IsNotStored) {
  const auto& first = Send(Name(1, 1));
  const auto& second = Send(Name(1, 1));
  registrar_.Answer(Aborted("fenced", Reason::kTransactionFenced));
  ExpectRefused(first, Code::kAborted, Reason::kTransactionFenced);
  ExpectRefused(second, Code::kAborted, Reason::kTransactionFenced);
  EXPECT_EQ(last_index(), LogIndex(0));
}

TEST_F(TransactionsTest, Rule59_ABatchBehindTheEnd_IsRefused_OnceLeadershipIsConfirmed) {
  Write(Name(1, 1));
  Commit(Name(1, 1));
  const auto& late = Send(Name(1, 1));
  EXPECT_FALSE(late.has_value());
  group_.AnswerBarriers(Status::Ok());
  ExpectRefused(late, Code::kAborted, Reason::kTransactionEnded);
  EXPECT_THAT(registrar_.asked, IsEmpty());
}

TEST_F(TransactionsTest, ARetryOfWhatIsStored_IsADuplicate_ThoughItsTransactionHasEnded) {
  Write(Name(1, 1));
  Commit(Name(1, 1));
  const auto& again = SendAt(Name(1, 1), 0);
  ASSERT_TRUE(again.has_value() && again->ok());
  EXPECT_TRUE((*again)->is_duplicate);
}

TEST_F(TransactionsTest, Rule60_AMarkerBeforeTheFirstBatch_IsNotPassedByIt) {
  const auto& batch = Send(Name(1, 1));
  const auto& ended = End(Name(1, 1), false);
  ASSERT_EQ(registrar_.asked.size(), 2U) << "it is asked anew";
  registrar_.Answer(Status::Ok());  // as of before the end
  EXPECT_EQ(last_index(), LogIndex(1)) << "the marker alone";
  registrar_.Answer(TransactionHasEnded(Name(1, 1)));
  ExpectRefused(batch, Code::kAborted, Reason::kTransactionEnded);
  group_.CommitAll();
  EXPECT_TRUE(ended.has_value() && ended->ok());
  EXPECT_EQ(partition_.last_stable(), Offset(0));
}

TEST_F(TransactionsTest, Rule60_WhatWaitedOnTheBatchWorker_IsHeldAgainstWhatHasHappenedMeanwhile) {
  Write(Name(1, 1));
  const auto& batch = SendAt(Name(1, 1), 1, BatchCompression::kLz4);
  Abort(Name(1, 1));
  world_.RunFor(std::chrono::milliseconds(1));
  group_.AnswerBarriers(Status::Ok());
  ExpectRefused(batch, Code::kAborted, Reason::kTransactionEnded);
  EXPECT_EQ(partition_.last_stable(), partition_.high_watermark());
}

TEST_F(TransactionsTest, TheNextOne_IsRegisteredMeanwhile_AndFollowsTheMarkerOfTheOneBefore) {
  Write(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  const auto& behind = Send(Name(1, 2));
  ASSERT_EQ(registrar_.asked.size(), 1U) << "once for both";
  EXPECT_EQ(registrar_.asked[0].name, Name(1, 2));
  registrar_.Answer(Status::Ok());
  EXPECT_EQ(last_index(), LogIndex(1)) << "the one before is open";
  const auto& ended = End(Name(1, 1), false);
  EXPECT_EQ(last_index(), LogIndex(4)) << "behind the marker, which need not be applied";
  EXPECT_FALSE(ended.has_value());
  group_.CommitAll();
  ASSERT_TRUE(next.has_value() && next->ok() && behind.has_value() && behind->ok());
  EXPECT_EQ((*next)->base_offset, Offset(1));
  Commit(Name(1, 2));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(1, 2)) << "the marker voids what is before it alone";
}

TEST_F(TransactionsTest, TheNextOne_WhoseRegistrationComesAfterTheMarker_FollowsIt) {
  Write(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  End(Name(1, 1), true);
  EXPECT_EQ(last_index(), LogIndex(2));
  registrar_.Answer(Status::Ok());
  EXPECT_EQ(last_index(), LogIndex(3));
  EXPECT_THAT(registrar_.asked, IsEmpty());
  group_.CommitAll();
  EXPECT_TRUE(next.has_value() && next->ok());
}

TEST_F(TransactionsTest, TheNextOne_WhichCouldNotBeRegisteredMeanwhile_IsOnceItIsItsTurn) {
  Write(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  registrar_.Answer(Unavailable("the one before has not ended for too long"));
  EXPECT_FALSE(next.has_value());
  EXPECT_THAT(registrar_.asked, IsEmpty());
  End(Name(1, 1), true);
  ASSERT_EQ(registrar_.asked.size(), 1U);
  registrar_.Answer(Status::Ok());
  group_.CommitAll();
  EXPECT_TRUE(next.has_value() && next->ok());
}

TEST_F(TransactionsTest, TheNextOne_WhichHasEndedItself_IsToldAtOnce) {
  Write(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  registrar_.Answer(TransactionHasEnded(Name(1, 2)));
  ExpectRefused(next, Code::kAborted, Reason::kTransactionEnded);
  EXPECT_EQ(last_index(), LogIndex(1));
}

TEST_F(TransactionsTest, TheMarkerOfAnother_LetsNothingOn) {
  Write(Name(1, 1));
  Commit(Name(1, 1));
  Write(Name(1, 2));
  const auto& next = Send(Name(1, 3));
  registrar_.Answer(Status::Ok());
  End(Name(1, 1), true);
  End(Name(2, 5), false);
  group_.CommitAll();
  EXPECT_FALSE(next.has_value());
  Commit(Name(1, 2));
  EXPECT_TRUE(next.has_value() && next->ok());
}

TEST_F(TransactionsTest, WhatIsOfTheOpenOne_DoesNotWaitBehindTheNext) {
  Write(Name(1, 1));
  const auto& stored = Send(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  // Its first answer was lost with the stream, and what waits for its end has come already.
  const auto& again = SendAt(Name(1, 1), 1);
  group_.CommitAll();
  EXPECT_TRUE(stored.has_value() && stored->ok());
  ASSERT_TRUE(again.has_value() && again->ok());
  EXPECT_TRUE((*again)->is_duplicate);
  EXPECT_FALSE(next.has_value());
}

TEST_F(TransactionsTest, AMarkerOfALeaderBefore_LetsTheNextOneOn_WhenItIsApplied) {
  Write(Name(1, 1));
  End(Name(1, 1), true);
  group_.Follow(Term(2));
  group_.Lead(Term(3));
  const auto& next = Send(Name(1, 2));
  registrar_.Answer(Status::Ok());
  EXPECT_FALSE(next.has_value()) << "this leader knows of no marker yet";
  group_.CommitAll();
  group_.CommitAll();
  EXPECT_TRUE(next.has_value() && next->ok());
}

TEST_F(TransactionsTest, WhoWaitsTooLong_IsTold_AndNothingIsStored) {
  Write(Name(1, 1));
  const auto& next = Send(Name(1, 2));
  const auto& other = Send(Name(2, 1));
  world_.RunFor(std::chrono::seconds(9));
  partition_.Tend(std::nullopt);
  EXPECT_FALSE(next.has_value());
  world_.RunFor(std::chrono::seconds(2));
  partition_.Tend(std::nullopt);
  ExpectRefused(next, Code::kUnavailable, Reason::kNone);
  ExpectRefused(other, Code::kUnavailable, Reason::kNone);
  registrar_.Answer(Status::Ok());  // too late
  EXPECT_EQ(last_index(), LogIndex(1));
}

TEST_F(TransactionsTest, WhoLosesTheLead_StoresNothingOfWhatItHeld) {
  const auto& batch = Send(Name(1, 1));
  const auto& ended = End(Name(2, 1), true);
  group_.Follow(Term(2));
  ExpectRefused(batch, Code::kUnavailable, Reason::kNotLeader);
  ASSERT_TRUE(ended.has_value());
  EXPECT_EQ(ended->reason(), Reason::kNotLeader);
  registrar_.Answer(Status::Ok());
  EXPECT_EQ(last_index(), LogIndex(1)) << "the marker that it had proposed";
}

TEST_F(TransactionsTest, AProducerThatHoldsTooManyBatches_IsThrottled) {
  for (size_t i = 0; i < HeldBatches::kHeldMax; ++i) Send(Name(1, 1));
  ExpectRefused(Send(Name(1, 1)), Code::kResourceExhausted, Reason::kThrottled);
  EXPECT_EQ(registrar_.asked.size(), 1U);
}

TEST_F(TransactionsTest, ABatchWithoutANumber_IsRefused_WhileItsProducerHasOneOpen) {
  Write(Name(1, 1));
  const auto& plain = Send(Name(1, 0));
  group_.AnswerBarriers(Status::Ok());
  ExpectRefused(plain, Code::kInvalidArgument, Reason::kNone);
  sequences_[{Producer(1), 0}] = 1;
  Commit(Name(1, 1));
  Write(Name(1, 0));
}

TEST_F(TransactionsTest, WithoutAProducer_OrBelowTheLevel_ThereIsNone) {
  ExpectRefused(Send({.number = 1}), Code::kInvalidArgument, Reason::kNone);
  Image old;
  Partition partition(kGroup, partition_.name(),
                      {store_, process_.clock(), batches_, lookups_, old, producers_, registrar_});
  raft::FakeGroup group(kGroup, partition);
  partition.set_leader_epoch_base(100);
  group.Lead(Term(1));
  RecordBatchBuilder builder({});
  CHECK(builder.TryAppend({.value = "v"}));
  Outcome outcome;
  partition.Produce(
      {.bytes = std::move(builder).Finish(
           {.producer_id = Producer(1), .transaction_number = 1, .destination = partition.name()})},
      [&outcome](Result<ProduceOutcome> done) { outcome = std::move(done); });
  ExpectRefused(outcome, Code::kFailedPrecondition, Reason::kNone);
}

// Markers ---------------------------------------------------------------------------------------

TEST_F(TransactionsTest, Rule62_AMarkerForWhatHasEnded_IsAcknowledged_AndChangesNothing) {
  Write(Name(1, 1));
  Abort(Name(1, 1));
  const LogIndex last = last_index();
  const auto& again = End(Name(1, 1), false);
  ASSERT_TRUE(again.has_value());
  EXPECT_TRUE(again->ok());
  EXPECT_EQ(last_index(), last);
}

TEST_F(TransactionsTest, AMarker_IsAcknowledged_OnceAnEntryThatEndedItIsApplied) {
  Write(Name(1, 1));
  const auto& first = End(Name(1, 1), false);
  const auto& second = End(Name(1, 1), false);
  EXPECT_FALSE(first.has_value());
  EXPECT_FALSE(second.has_value()) << "the first one may yet be cut";
  group_.CommitAll();
  EXPECT_TRUE(first.has_value() && first->ok());
  EXPECT_TRUE(second.has_value() && second->ok());
  EXPECT_THAT(OffsetsFrom(0), IsEmpty());
}

TEST_F(TransactionsTest, Rule63_AMarker_EndsTheTransactionThatItNames_AndNoOther) {
  Write(Name(1, 1));
  Commit(Name(1, 1));
  Write(Name(1, 2));
  Abort(Name(1, 1));
  EXPECT_EQ(partition_.last_stable(), Offset(1)) << "the second one is open";
  Abort(Name(2, 1));
  Abort(Name(1, 3));
  EXPECT_EQ(partition_.last_stable(), Offset(1));
  Commit(Name(1, 2));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(0, 1));
}

TEST_F(TransactionsTest, Rule71_AMarkerWithoutData_IsAppliedAsAnEnd) {
  Commit(Name(1, 1));
  EXPECT_EQ(last_index(), LogIndex(1));
  EXPECT_EQ(partition_.high_watermark(), Offset(0)) << "it takes no offset";
  Write(Name(1, 2));
  Commit(Name(1, 2));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(0));
}

TEST_F(TransactionsTest, AnEpochThatRises_LeavesTheOneBefore) {
  Write(Name(1, 4, 0));
  Abort(Name(1, 4, 0));
  Write(Name(1, 1, 1));
  EXPECT_EQ(partition_.last_stable(), Offset(1));
  Commit(Name(1, 1, 1));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(1));
}

// Reading ---------------------------------------------------------------------------------------

TEST_F(TransactionsTest, ReadersOfWhatIsCommitted_StopAtTheOldestOpenOne) {
  WritePlain();
  Write(Name(1, 1));
  WritePlain();
  Write(Name(2, 1));
  EXPECT_EQ(partition_.last_stable(), Offset(1));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(0));
  EXPECT_THAT(OffsetsFrom(0, Isolation::kUncommitted), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(OffsetsFrom(2), IsEmpty()) << "between the two ends nothing is out of range";
  Commit(Name(1, 1));
  EXPECT_EQ(partition_.last_stable(), Offset(3));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(0, 1, 2));
  Abort(Name(2, 1));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(0, 1, 2));
  EXPECT_EQ(partition_.last_stable(), partition_.high_watermark());
}

TEST_F(TransactionsTest, OfProducersThatAlternate_EachSeesItsOwnEnd) {
  Write(Name(1, 1));  // 0, aborted
  Write(Name(2, 1));  // 1
  Write(Name(1, 1));  // 2, aborted
  WritePlain();       // 3
  Abort(Name(1, 1));
  Write(Name(1, 2));  // 4
  Commit(Name(2, 1));
  Write(Name(1, 0 + 2));  // 5
  Commit(Name(1, 2));
  EXPECT_THAT(OffsetsFrom(0), ElementsAre(1, 3, 4, 5));
  EXPECT_THAT(OffsetsFrom(2), ElementsAre(3, 4, 5));
}

TEST_F(TransactionsTest, Rule73_WhoWaitsAtTheLastStableOffset_IsWokenByAMarker) {
  Write(Name(1, 1));
  bool is_woken = false;
  bool is_uncommitted_woken = false;
  partition_.Wait({.offset = Offset(0), .isolation = Isolation::kCommitted},
                  [&is_woken] { is_woken = true; });
  partition_.Wait({.offset = Offset(1), .isolation = Isolation::kUncommitted},
                  [&is_uncommitted_woken] { is_uncommitted_woken = true; });
  Write(Name(2, 1));
  EXPECT_FALSE(is_woken) << "a record above the last stable offset is none for it";
  EXPECT_TRUE(is_uncommitted_woken);
  Commit(Name(1, 1));
  EXPECT_TRUE(is_woken);
}

TEST_F(TransactionsTest, Rule74_WhereAllIsVoid_AReadMovesOn) {
  Write(Name(1, 1));
  Write(Name(1, 1));
  Abort(Name(1, 1));
  const auto read = ReadAt(0, Isolation::kCommitted);
  ASSERT_TRUE(read.has_value() && read->ok());
  EXPECT_THAT((*read)->entries, IsEmpty());
  EXPECT_EQ((*read)->next_offset, Offset(2));
}

TEST_F(TransactionsTest, Rule77_AnOpenOne_OutlivesItsRecordsAndItsProducersTime) {
  Write(Name(1, 1));
  WritePlain();
  std::optional<Result<PartitionOffsets>> deleted;
  partition_.DeleteRecords(
      Offset(1), [&deleted](Result<PartitionOffsets> done) { deleted = std::move(done); });
  group_.AnswerBarriers(Status::Ok());
  group_.CommitAll();
  ASSERT_TRUE(deleted.has_value() && deleted->ok());
  EXPECT_EQ(partition_.last_stable(), Offset(1)) << "not below the log's start";
  process_.SetWallOffset(2 * kProducerExpiryMs);
  WritePlain();
  EXPECT_EQ(partition_.last_stable(), Offset(1)) << "it does not expire";
  Abort(Name(1, 1));
  EXPECT_EQ(partition_.last_stable(), Offset(3));
}

// A replica that began with the state behind all that was written, and has it in segments.
class TransactionsInSegmentsTest : public TransactionsTest {
 protected:
  void SetUp() override {
    TransactionsTest::SetUp();
    Write(Name(1, 1));
    WritePlain();
    Abort(Name(1, 1));
    ASSERT_TRUE(restarted_.Restore(partition_.TakeSnapshot()()).ok());
    restarted_.set_leader_epoch_base(100);
    others_.Lead(Term(2));
    auto& stored = store_.groups[kGroup];
    for (LogIndex at(1); at <= last_index(); ++at) stored.entries.push_back(group_.log().At(at));
    store_.from_offset = {stored.entries[0], stored.entries[1]};
    stored.committed = last_index();
  }
  Result<ReadOutcome> Read() {
    std::optional<Result<ReadOutcome>> read;
    restarted_.Read(
        {.offset = Offset(0), .bytes_max = 1'000'000, .isolation = Isolation::kCommitted},
        [&read](Result<ReadOutcome> outcome) { read = std::move(outcome); });
    world_.RunFor(std::chrono::milliseconds(1));
    return read.value_or(Internal("no answer"));
  }

  Partition restarted_{
      kGroup,
      partition_.name(),
      {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_}};
  raft::FakeGroup others_{kGroup, restarted_};
};

TEST_F(TransactionsInSegmentsTest, Rule76_WhatIsNotInMemory_IsAskedOfTheSegments) {
  const Result<ReadOutcome> read = Read();
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->entries.size(), 1U);
  EXPECT_EQ(read->entries[0].frame.header().base_offset, Offset(1));
  EXPECT_EQ(read->next_offset, Offset(2));
  EXPECT_EQ(store_.void_ranges_asked, 1U);
}

TEST_F(TransactionsInSegmentsTest, WhereThatIsDamaged_TheReaderIsTold_AndTheHost) {
  store_.void_ranges_error = DataLoss("a footer is damaged");
  EXPECT_EQ(Read().status(), store_.void_ranges_error);
  EXPECT_THAT(others_.unreadable, ElementsAre(store_.void_ranges_error));
}

// State -----------------------------------------------------------------------------------------

uint32_t VersionOf(const Partition& partition) {
  internal::v1::PartitionState state;
  const Bytes bytes = partition.TakeSnapshot()();
  CHECK(state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return state.version();
}

TEST_F(TransactionsTest, AStateWithTransactions_HasAVersionThatOlderBuildsRefuse) {
  WritePlain();
  EXPECT_EQ(VersionOf(partition_), 1U);
  Write(Name(1, 1));
  EXPECT_EQ(VersionOf(partition_), 4U);
}

// Rule 75: what a snapshot holds is what replay gives, the open ones among it, and who goes on from
// one says what the others say.
TEST_F(TransactionsTest, Rule75_StateIsReplay_IsASnapshotAndTheRest) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    Partition leader(
        kGroup, partition_.name(),
        {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_});
    raft::FakeGroup group(kGroup, leader);
    leader.set_leader_epoch_base(100);
    group.Lead(Term(1));
    std::optional<std::pair<LogIndex, Bytes>> snapshot;
    struct Sender {
      uint64_t number = 1;
      uint32_t sequence = 0;
    };
    std::map<uint64_t, Sender> senders;
    for (int step = 0; step < 200; ++step) {
      const uint64_t id = random.Between(1, 4);
      Sender& sender = senders[id];
      if (random.OneIn(3)) {
        const bool is_committed = random.OneIn(2);
        leader.EndTransaction({.name = Name(id, sender.number), .is_committed = is_committed},
                              [](const Status&) {});
        ++sender.number;
      } else {
        RecordBatchBuilder builder({});
        CHECK(builder.TryAppend({.value = "v"}));
        const bool is_plain = random.OneIn(8);
        bool is_taken = false;
        leader.Produce({.bytes = std::move(builder).Finish(
                            {.producer_id = is_plain ? Producer(9) : Producer(id),
                             .first_sequence = is_plain ? senders[9].sequence : sender.sequence,
                             .transaction_number = is_plain ? 0 : sender.number,
                             .destination = leader.name()})},
                       [&is_taken](const Result<ProduceOutcome>& done) { is_taken = done.ok(); });
        while (!registrar_.asked.empty()) registrar_.Answer(Status::Ok());
        group.CommitAll();
        ASSERT_TRUE(is_taken) << step;
        ++(is_plain ? senders[9] : sender).sequence;
      }
      if (random.OneIn(2)) group.CommitAll();
      if (random.OneIn(80)) {
        group.CommitAll();
        snapshot.emplace(group.log().last_index(), leader.TakeSnapshot()());
      }
    }
    group.CommitAll();
    const auto replayed = [&](LogIndex from, const Bytes* state) {
      Partition other(
          kGroup, partition_.name(),
          {store_, process_.clock(), batches_, lookups_, image_, producers_, registrar_});
      raft::FakeGroup others(kGroup, other);
      const Status restored = state == nullptr ? Status::Ok() : other.Restore(*state);
      EXPECT_TRUE(restored.ok()) << restored;
      for (LogIndex at = from + 1; at <= group.log().last_index(); ++at) {
        EXPECT_TRUE(other.Apply(group.log().At(at)).ok());
      }
      EXPECT_EQ(other.last_stable(), leader.last_stable());
      return std::string(other.TakeSnapshot()().view());
    };
    const std::string state(leader.TakeSnapshot()().view());
    EXPECT_EQ(replayed(LogIndex(), nullptr), state);
    if (!snapshot.has_value()) continue;
    EXPECT_EQ(replayed(snapshot->first, &snapshot->second), state);
  }
}

}  // namespace
}  // namespace millrace::broker

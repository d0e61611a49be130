#include "client/core/consumer.h"

#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "proto/base/checksum.h"
#include "proto/record/record_batch_builder.h"

namespace millrace::client {
namespace {

using namespace std::chrono_literals;

constexpr BrokerId kOne{1};
constexpr BrokerId kTwo{2};
constexpr TopicPartition kPartition{TopicId(9), PartitionId(0)};

v1::FetchedBatch Batch(int64_t base_offset, uint32_t count) {
  RecordBatchBuilder builder({});
  for (uint32_t i = 0; i < count; ++i) {
    const std::string value = std::to_string(base_offset + i);
    EXPECT_TRUE(builder.TryAppend({.value = value}));
  }
  const Bytes bytes = std::move(builder).Finish({.destination = kPartition});
  v1::FetchedBatch batch;
  batch.set_base_offset(base_offset);
  batch.set_record_count(count);
  batch.set_end_offset(base_offset + count);
  batch.set_batch_checksum(Crc32c(bytes.view()));
  EXPECT_TRUE(batch.mutable_batch()->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())));
  return batch;
}

class ConsumerTest : public ::testing::Test {
 protected:
  explicit ConsumerTest(const std::optional<StartAt>& below_log_start = {})
      : consumer_({.credit_bytes = 1000, .below_log_start = below_log_start}, Random(1)) {}

  void Assign(const StartAt& start, std::optional<Offset> stop_at = {}) {
    handle_ = consumer_.Assign(kPartition, start, stop_at);
    consumer_.OnLeader(handle_, {.broker = kOne, .epoch = Term(1)});
  }
  // What Poll asks of `broker`; empty if nothing.
  v1::FetchRequest Polled(BrokerId broker = kOne) {
    output_ = {};
    consumer_.Poll(now_, &output_);
    v1::FetchRequest request;
    for (const ConsumerOutput::Message& message : output_.messages) {
      if (message.to != broker) continue;
      EXPECT_TRUE(request.ParseFromString(std::string(message.bytes.view())));
    }
    return request;
  }
  void Answer(BrokerId broker, const v1::FetchedPartition& partition) {
    v1::FetchResponse response;
    *response.add_partitions() = partition;
    const Status taken =
        consumer_.OnMessage(broker, Bytes::Own(response.SerializeAsString()), now_);
    ASSERT_TRUE(taken.ok()) << taken;
  }
  void AnswerBatches(uint32_t fetch_id, const std::vector<v1::FetchedBatch>& batches,
                     BrokerId broker = kOne) {
    v1::FetchedPartition partition;
    partition.set_fetch_id(fetch_id);
    for (const v1::FetchedBatch& batch : batches) *partition.add_batches() = batch;
    Answer(broker, partition);
  }
  void AnswerError(uint32_t fetch_id, Code code, Reason reason) {
    v1::FetchedPartition partition;
    partition.set_fetch_id(fetch_id);
    partition.mutable_error()->set_code(static_cast<int>(code));
    partition.mutable_error()->set_message("refused");
    partition.mutable_error()->mutable_info()->set_reason(std::string(ReasonName(reason)));
    Answer(kOne, partition);
  }

  void AnswerOutOfRange(uint32_t fetch_id, int64_t log_start, int64_t end) {
    v1::FetchedPartition partition;
    partition.set_fetch_id(fetch_id);
    v1::Error& error = *partition.mutable_error();
    error.set_code(static_cast<int>(Code::kOutOfRange));
    v1::ErrorInfo& info = *error.mutable_info();
    info.set_reason(std::string(ReasonName(Reason::kOffsetOutOfRange)));
    (*info.mutable_metadata())["log_start_offset"] = std::to_string(log_start);
    (*info.mutable_metadata())["end_offset"] = std::to_string(end);
    Answer(kOne, partition);
  }

  MonotonicTime now_{1s};
  Consumer consumer_;
  uint32_t handle_ = 0;
  ConsumerOutput output_;
};

TEST_F(ConsumerTest, Poll_AddsThePartitionAtItsLeader_AndGrantsCredit) {
  Assign(StartAt::Earliest());
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 1);
  EXPECT_EQ(request.add(0).topic_id(), 9u);
  EXPECT_TRUE(request.add(0).position().earliest());
  EXPECT_EQ(request.credit_bytes(), 1000u);
  EXPECT_TRUE(output_.messages.size() == 1 && Polled().add_size() == 0) << "asked once";
}

TEST_F(ConsumerTest, Next_GivesBatchesInOrder_AndSkipsWhatWasNotAskedFor) {
  Assign(StartAt::At(Offset(12)));
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(10, 5), Batch(15, 5)});
  const auto first = consumer_.Next();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->base_offset, Offset(10));
  EXPECT_EQ(first->first_wanted, Offset(12));
  const auto second = consumer_.Next();
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->first_wanted, Offset(15));
  EXPECT_EQ(consumer_.position(handle_), Offset(20));
  EXPECT_FALSE(consumer_.Next().has_value());
}

TEST_F(ConsumerTest, Gap_EndsThePartition_ByName) {
  Assign(StartAt::At(Offset(0)));
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(0, 2), Batch(3, 2)});
  EXPECT_TRUE(consumer_.Next()->status.ok());
  EXPECT_EQ(consumer_.Next()->status.code(), Code::kDataLoss);
  EXPECT_EQ(Polled().remove_size(), 1);
}

// What compaction took is told, so that it differs from what was lost.
TEST_F(ConsumerTest, AnnouncedSkip_IsNoGap) {
  Assign(StartAt::At(Offset(0)));
  const uint32_t id = Polled().add(0).fetch_id();
  v1::FetchedBatch later = Batch(7, 2);
  later.set_skipped_before(5);
  AnswerBatches(id, {Batch(0, 2), later});
  EXPECT_EQ(consumer_.Next()->base_offset, Offset(0));
  const auto second = consumer_.Next();
  EXPECT_TRUE(second->status.ok()) << second->status;
  EXPECT_EQ(second->base_offset, Offset(7));
  v1::FetchedBatch beyond = Batch(12, 1);
  beyond.set_skipped_before(2);
  AnswerBatches(id, {beyond});
  EXPECT_EQ(consumer_.Next()->status.code(), Code::kDataLoss)
      << "three are missing, two were told of";
}

TEST_F(ConsumerTest, BatchMayReachPastItsRecords_AndHoldNone) {
  Assign(StartAt::At(Offset(0)));
  const uint32_t id = Polled().add(0).fetch_id();
  v1::FetchedBatch wide = Batch(0, 2);
  wide.set_end_offset(5);
  v1::FetchedBatch hollow = Batch(5, 1);
  hollow.set_record_count(0);
  AnswerBatches(id, {wide, hollow, Batch(6, 1)});
  for (const int64_t end : {5, 6, 7}) {
    const auto chunk = consumer_.Next();
    EXPECT_TRUE(chunk->status.ok()) << chunk->status;
    EXPECT_EQ(chunk->end_wanted, Offset(end));
  }
}

// Nothing but the way there: without it a reader would wait for records that do not come.
TEST_F(ConsumerTest, AnswerThatOnlyMoved_MovesTheReader_AndEndsItThere) {
  Assign(StartAt::At(Offset(0)), Offset(9));
  v1::FetchedPartition moved;
  moved.set_fetch_id(Polled().add(0).fetch_id());
  moved.set_next_offset(4);
  Answer(kOne, moved);
  EXPECT_EQ(consumer_.position(handle_), Offset(4));
  EXPECT_FALSE(consumer_.Next().has_value());
  moved.set_next_offset(9);
  Answer(kOne, moved);
  EXPECT_TRUE(consumer_.Next()->is_end);
}

TEST_F(ConsumerTest, WrongChecksum_EndsThePartition) {
  Assign(StartAt::Earliest());
  const uint32_t id = Polled().add(0).fetch_id();
  v1::FetchedBatch batch = Batch(0, 2);
  batch.set_batch_checksum(batch.batch_checksum() ^ 1);
  AnswerBatches(id, {batch});
  EXPECT_EQ(consumer_.Next()->status.code(), Code::kDataLoss);
}

TEST_F(ConsumerTest, Credit_IsGrantedAgain_OnlyForWhatWasTaken) {
  Assign(StartAt::Earliest());
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(0, 40), Batch(40, 40)});
  EXPECT_EQ(Polled().credit_bytes(), 0u) << "it waits in the queue";
  const uint64_t queued = consumer_.queued_bytes();
  EXPECT_GT(queued, 250u);
  while (consumer_.Next()) {
  }
  EXPECT_EQ(Polled().credit_bytes(), queued);
}

TEST_F(ConsumerTest, StreamClosed_ReadsOnFromTheNextOffset) {
  Assign(StartAt::Earliest());
  AnswerBatches(Polled().add(0).fetch_id(), {Batch(0, 3)});
  consumer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  EXPECT_EQ(Polled().add_size(), 0) << "before the back-off has passed";
  EXPECT_TRUE(output_.wants_metadata);
  now_ += 2s;
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 1);
  EXPECT_EQ(request.add(0).position().offset(), 3);
  EXPECT_GT(request.credit_bytes(), 0u);
}

TEST_F(ConsumerTest, NewLeader_TakesOver_AndTheOldStreamsAnswersCountNoMore) {
  Assign(StartAt::Earliest());
  const uint32_t old_id = Polled().add(0).fetch_id();
  consumer_.OnLeader(handle_, {.broker = kTwo, .epoch = Term(2)});
  const v1::FetchRequest request = Polled(kTwo);
  ASSERT_EQ(request.add_size(), 1);
  AnswerBatches(old_id, {Batch(0, 3)});
  EXPECT_FALSE(consumer_.Next().has_value());
  AnswerBatches(request.add(0).fetch_id(), {Batch(0, 3)}, kTwo);
  EXPECT_TRUE(consumer_.Next().has_value());
}

class MovingConsumer : public ConsumerTest {
 protected:
  MovingConsumer() : ConsumerTest(StartAt::Earliest()) {}
};

TEST_F(MovingConsumer, BelowTheLogStart_GoesOnAtTheEarliest_BehindWhatCameBefore) {
  Assign(StartAt::At(Offset(7)));
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(7, 2)});
  AnswerOutOfRange(id, 20, 30);
  EXPECT_FALSE(consumer_.position(handle_).has_value());
  const v1::FetchRequest again = Polled();
  ASSERT_EQ(again.add_size(), 1);
  EXPECT_TRUE(again.add(0).position().earliest());
  AnswerBatches(again.add(0).fetch_id(), {Batch(20, 3)});
  EXPECT_EQ(consumer_.Next()->base_offset, Offset(7));
  EXPECT_TRUE(consumer_.Next()->has_moved);
  EXPECT_EQ(consumer_.Next()->base_offset, Offset(20));
}

class ConsumerMovingToTheLatest : public ConsumerTest {
 protected:
  ConsumerMovingToTheLatest() : ConsumerTest(StartAt::Latest()) {}
};

TEST_F(ConsumerMovingToTheLatest, BelowTheLogStart_GoesOnThere) {
  Assign(StartAt::At(Offset(7)));
  AnswerOutOfRange(Polled().add(0).fetch_id(), 20, 30);
  EXPECT_TRUE(consumer_.Next()->has_moved);
  EXPECT_TRUE(Polled().add(0).position().latest());
}

TEST_F(MovingConsumer, PastTheEnd_IsAnError) {
  Assign(StartAt::At(Offset(31)));
  AnswerOutOfRange(Polled().add(0).fetch_id(), 20, 30);
  EXPECT_EQ(consumer_.Next()->status.reason(), Reason::kOffsetOutOfRange);
}

TEST_F(MovingConsumer, BelowALogStart_ThatIsBehindItsStop_IsAtItsEnd) {
  Assign(StartAt::At(Offset(7)), Offset(12));
  AnswerOutOfRange(Polled().add(0).fetch_id(), 20, 30);
  EXPECT_TRUE(consumer_.Next()->has_moved);
  v1::FetchedPartition answer;
  answer.set_fetch_id(Polled().add(0).fetch_id());
  answer.set_next_offset(20);
  Answer(kOne, answer);
  EXPECT_TRUE(consumer_.Next()->is_end);
}

TEST_F(ConsumerTest, NotLeader_IsTriedAgain_OutOfRangeIsNot) {
  Assign(StartAt::At(Offset(7)));
  AnswerError(Polled().add(0).fetch_id(), Code::kUnavailable, Reason::kNotLeader);
  EXPECT_FALSE(consumer_.Next().has_value());
  now_ += 2s;
  AnswerError(Polled().add(0).fetch_id(), Code::kOutOfRange, Reason::kOffsetOutOfRange);
  EXPECT_EQ(consumer_.Next()->status.reason(), Reason::kOffsetOutOfRange);
  now_ += 2s;
  EXPECT_EQ(Polled().add_size(), 0);
}

TEST_F(ConsumerTest, StartAtATime_AsksForIt_AndSkipsWhatIsOlderInTheFirstBatch) {
  Assign(StartAt::Time(1700));
  const v1::FetchRequest request = Polled();
  EXPECT_EQ(request.add(0).position().timestamp_ms(), 1700);
  v1::FetchedPartition positioned;
  positioned.set_fetch_id(request.add(0).fetch_id());
  positioned.set_next_offset(3);
  Answer(kOne, positioned);
  AnswerBatches(request.add(0).fetch_id(), {Batch(0, 5)});
  EXPECT_EQ(consumer_.Next()->first_wanted, Offset(3));
}

TEST_F(ConsumerTest, StopAt_CutsTheLastBatch_AndSaysSo) {
  Assign(StartAt::Earliest(), Offset(3));
  AnswerBatches(Polled().add(0).fetch_id(), {Batch(0, 2), Batch(2, 5), Batch(7, 1)});
  EXPECT_EQ(consumer_.Next()->end_wanted, Offset(2));
  EXPECT_EQ(consumer_.Next()->end_wanted, Offset(3));
  const auto end = consumer_.Next();
  EXPECT_TRUE(end->is_end);
  EXPECT_TRUE(end->status.ok());
  EXPECT_FALSE(consumer_.Next().has_value());
  EXPECT_EQ(Polled().remove_size(), 1);
}

TEST_F(ConsumerTest, StopAt_PassesOverBatchesBehindIt_HoweverManyTheMessageHas) {
  Assign(StartAt::Earliest(), Offset(2));
  AnswerBatches(Polled().add(0).fetch_id(), {Batch(0, 2), Batch(2, 5), Batch(7, 1)});
  EXPECT_EQ(consumer_.Next()->end_wanted, Offset(2));
  const auto end = consumer_.Next();
  EXPECT_TRUE(end->is_end);
  EXPECT_TRUE(end->status.ok()) << end->status;
}

TEST_F(ConsumerTest, StopAt_EndsAtOnce_WhereNothingIsToBeRead) {
  Assign(StartAt::At(Offset(3)), Offset(3));
  EXPECT_TRUE(consumer_.Next()->is_end);
  EXPECT_EQ(Polled().add_size(), 0);
}

TEST_F(ConsumerTest, StopAt_Ends_WhenTheBrokerSaysThatThePartitionIsEmpty) {
  Assign(StartAt::Earliest(), Offset(9));
  v1::FetchedPartition positioned;
  positioned.set_fetch_id(Polled().add(0).fetch_id());
  positioned.set_next_offset(9);
  Answer(kOne, positioned);
  EXPECT_TRUE(consumer_.Next()->is_end);
}

TEST_F(ConsumerTest, StartPastTheStop_IsForTheBrokerToRefuse) {
  Assign(StartAt::At(Offset(99)), Offset(3));
  const uint32_t id = Polled().add(0).fetch_id();
  v1::FetchedPartition positioned;
  positioned.set_fetch_id(id);
  positioned.set_next_offset(99);
  Answer(kOne, positioned);
  EXPECT_FALSE(consumer_.Next().has_value());
  AnswerError(id, Code::kOutOfRange, Reason::kOffsetOutOfRange);
  EXPECT_EQ(consumer_.Next()->status.reason(), Reason::kOffsetOutOfRange);
}

TEST_F(ConsumerTest, Pause_OfAPartitionThatHasEnded_KeepsWhatWasNotTaken_AndItsEnd) {
  Assign(StartAt::Earliest(), Offset(2));
  AnswerBatches(Polled().add(0).fetch_id(), {Batch(0, 2)});
  consumer_.Pause(handle_);
  EXPECT_FALSE(consumer_.Next().has_value());
  consumer_.Resume(handle_);
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 1);
  AnswerBatches(request.add(0).fetch_id(), {Batch(0, 2)});
  EXPECT_EQ(consumer_.Next()->end_wanted, Offset(2));
  EXPECT_TRUE(consumer_.Next()->is_end);
}

TEST_F(ConsumerTest, Pause_GivesNothingOut_AndResumeGoesOnWithWhatWasNotTaken) {
  Assign(StartAt::Earliest());
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(0, 2), Batch(2, 2)});
  EXPECT_EQ(consumer_.Next()->base_offset, Offset(0));
  consumer_.Pause(handle_);
  EXPECT_FALSE(consumer_.Next().has_value());
  EXPECT_EQ(consumer_.queued_bytes(), 0u);
  const v1::FetchRequest paused = Polled();
  EXPECT_EQ(paused.remove_size(), 1);
  EXPECT_EQ(paused.add_size(), 0);
  AnswerBatches(id, {Batch(4, 2)});
  EXPECT_FALSE(consumer_.Next().has_value()) << "it was on its way";
  consumer_.Resume(handle_);
  const v1::FetchRequest resumed = Polled();
  ASSERT_EQ(resumed.add_size(), 1);
  EXPECT_EQ(resumed.add(0).position().offset(), 2);
}

TEST_F(ConsumerTest, Pause_LeavesTheOtherPartitionsAlone) {
  Assign(StartAt::Earliest());
  const uint32_t other = consumer_.Assign({TopicId(9), PartitionId(1)}, StartAt::Earliest());
  consumer_.OnLeader(other, {.broker = kOne, .epoch = Term(1)});
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 2);
  consumer_.Pause(handle_);
  AnswerBatches(request.add(1).fetch_id(), {Batch(0, 2)});
  const auto chunk = consumer_.Next();
  ASSERT_TRUE(chunk.has_value());
  EXPECT_EQ(chunk->partition.partition, PartitionId(1));
}

TEST_F(ConsumerTest, Seek_ReadsFromElsewhere_AndForgetsWhatWasFetched) {
  Assign(StartAt::Earliest());
  AnswerBatches(Polled().add(0).fetch_id(), {Batch(0, 4)});
  consumer_.Seek(handle_, StartAt::At(Offset(100)));
  EXPECT_FALSE(consumer_.Next().has_value());
  const v1::FetchRequest request = Polled();
  EXPECT_EQ(request.remove_size(), 1);
  EXPECT_EQ(request.add(0).position().offset(), 100);
}

TEST_F(ConsumerTest, Seek_RevivesAPartition_ThatHasEnded) {
  Assign(StartAt::At(Offset(7)));
  AnswerError(Polled().add(0).fetch_id(), Code::kOutOfRange, Reason::kOffsetOutOfRange);
  EXPECT_FALSE(consumer_.Next()->status.ok());
  consumer_.Seek(handle_, StartAt::Earliest());
  EXPECT_TRUE(Polled().add(0).position().earliest());
}

TEST_F(ConsumerTest, Unassign_DropsWhatWasFetched_AndWhatComesLater) {
  Assign(StartAt::At(Offset(0)));
  const uint32_t id = Polled().add(0).fetch_id();
  AnswerBatches(id, {Batch(0, 4)});
  consumer_.Unassign(handle_);
  EXPECT_FALSE(consumer_.Next().has_value());
  EXPECT_EQ(consumer_.queued_bytes(), 0u);
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.remove_size(), 1);
  EXPECT_EQ(request.remove(0), id);
  AnswerBatches(id, {Batch(4, 4)});
  EXPECT_FALSE(consumer_.Next().has_value());
}

TEST_F(ConsumerTest, Assign_AfterUnassign_BeginsWhereItIsTold_WithNothingOfTheOneBefore) {
  Assign(StartAt::At(Offset(0)), Offset(3));
  const uint32_t before = Polled().add(0).fetch_id();
  consumer_.Pause(handle_);
  consumer_.Unassign(handle_);
  handle_ = consumer_.Assign({TopicId(10), PartitionId(2)}, StartAt::At(Offset(7)));
  consumer_.OnLeader(handle_, {.broker = kOne, .epoch = Term(1)});
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 1);
  EXPECT_EQ(request.add(0).topic_id(), 10u);
  EXPECT_EQ(request.add(0).position().offset(), 7);
  AnswerBatches(before, {Batch(0, 3)});
  EXPECT_FALSE(consumer_.Next().has_value());
  AnswerBatches(request.add(0).fetch_id(), {Batch(7, 2)});
  EXPECT_EQ(consumer_.Next()->end_wanted, Offset(9)) << "nothing says where to stop";
}

TEST_F(ConsumerTest, TopicThatIsGone_EndsItsPartitions_AndNoOthers) {
  Assign(StartAt::At(Offset(0)));
  const uint32_t other = consumer_.Assign({TopicId(10), PartitionId(0)}, StartAt::Earliest());
  consumer_.OnLeader(other, {.broker = kOne, .epoch = Term(1)});
  const v1::FetchRequest request = Polled();
  ASSERT_EQ(request.add_size(), 2);
  AnswerBatches(request.add(0).fetch_id(), {Batch(0, 2)});
  consumer_.FailTopic(kPartition.topic, NotFound("gone"));
  EXPECT_FALSE(consumer_.Next()->batch.empty()) << "what came before it is given out";
  const std::optional<FetchedChunk> end = consumer_.Next();
  ASSERT_TRUE(end.has_value());
  EXPECT_EQ(end->partition, kPartition);
  EXPECT_EQ(end->status.code(), Code::kNotFound);
  EXPECT_FALSE(consumer_.Next().has_value());
  AnswerBatches(request.add(1).fetch_id(), {Batch(0, 2)});
  EXPECT_TRUE(consumer_.Next().has_value());
}

TEST_F(ConsumerTest, Garbage_IsAnError) {
  EXPECT_FALSE(consumer_.OnMessage(kOne, Bytes::CopyOf("\x12\xff"), now_).ok());
}

}  // namespace
}  // namespace millrace::client

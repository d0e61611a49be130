#include "client/core/producer.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/client/core/model_brokers.h"

namespace millrace::client {
namespace {

using namespace std::chrono_literals;

constexpr ProducerId kProducer(5);
constexpr BrokerId kOne{1};
constexpr BrokerId kTwo{2};

class ProducerTest : public ::testing::Test {
 protected:
  explicit ProducerTest(const ProducerTuning& tuning = {})
      : producer_(tuning, {.id = kProducer, .inflight_batches_max = 3}, Random(1)) {
    handle_ = producer_.AddPartition({ModelBrokers::kTopic, PartitionId(0)});
    producer_.OnLeader(handle_, {.broker = kOne, .epoch = Term(1)});
  }

  void Send(const std::string& value) {
    const Status sent = producer_.Send(handle_, {.value = value}, now_);
    ASSERT_TRUE(sent.ok()) << sent;
  }
  // Batches that Poll put out since the last call, with the brokers they go to.
  std::vector<std::pair<BrokerId, v1::ProduceBatch>> Polled() {
    output_ = {};
    producer_.Poll(now_, &output_);
    producer_.CheckInvariants();
    std::vector<std::pair<BrokerId, v1::ProduceBatch>> batches;
    for (const ProducerOutput::Message& message : output_.messages) {
      std::string bytes;
      for (const Bytes& piece : message.pieces) bytes += piece.view();
      v1::ProduceRequest request;
      EXPECT_TRUE(request.ParseFromString(bytes));
      for (const auto& batch : request.batches()) batches.emplace_back(message.to, batch);
    }
    return batches;
  }
  void Acknowledge(const v1::ProduceBatch& batch, int64_t base_offset) {
    v1::ProduceResult result;
    result.set_batch_id(batch.batch_id());
    result.set_base_offset(base_offset);
    producer_.OnResult(kOne, result, now_);
  }
  void Refuse(const v1::ProduceBatch& batch, Code code, Reason reason = Reason::kNone) {
    v1::ProduceResult result;
    result.set_batch_id(batch.batch_id());
    result.mutable_error()->set_code(static_cast<int>(code));
    result.mutable_error()->set_message("refused");
    result.mutable_error()->mutable_info()->set_reason(std::string(ReasonName(reason)));
    producer_.OnResult(kOne, result, now_);
  }

  void SendAt(int64_t end) {
    const Status sent = producer_.Send(handle_, {.value = "v"}, now_, Offset(end));
    ASSERT_TRUE(sent.ok()) << sent;
  }
  void RefuseAsMoved(const v1::ProduceBatch& batch, int64_t end) {
    v1::ProduceResult result;
    result.set_batch_id(batch.batch_id());
    result.mutable_error()->set_code(static_cast<int>(Code::kFailedPrecondition));
    v1::ErrorInfo& info = *result.mutable_error()->mutable_info();
    info.set_reason("OFFSET_MOVED");
    (*info.mutable_metadata())["end_offset"] = std::to_string(end);
    producer_.OnResult(kOne, result, now_);
  }
  void RefuseAsTooLarge(const v1::ProduceBatch& batch, size_t limit) {
    v1::ProduceResult result;
    result.set_batch_id(batch.batch_id());
    result.mutable_error()->set_code(static_cast<int>(Code::kInvalidArgument));
    v1::ErrorInfo& info = *result.mutable_error()->mutable_info();
    info.set_reason("BATCH_TOO_LARGE");
    (*info.mutable_metadata())["batch_bytes_max"] = std::to_string(limit);
    producer_.OnResult(kOne, result, now_);
  }

  MonotonicTime now_{1s};
  Producer producer_;
  uint32_t handle_ = 0;
  ProducerOutput output_;
};

TEST_F(ProducerTest, Poll_SendsAtOnce_WhenNothingIsInFlight) {
  Send("a");
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].first, kOne);
  EXPECT_EQ(batches[0].second.batch().producer_id(), 5u);
  EXPECT_EQ(batches[0].second.batch().first_sequence(), 0u);
}

TEST_F(ProducerTest, Poll_Collects_WhileABatchIsInFlight_UntilLingerPasses) {
  Send("a");
  ASSERT_EQ(Polled().size(), 1u);
  Send("b");
  Send("c");
  EXPECT_TRUE(Polled().empty());
  ASSERT_TRUE(output_.wake_at.has_value());
  now_ = *output_.wake_at;
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].second.batch().record_count(), 2u);
  EXPECT_EQ(batches[0].second.batch().first_sequence(), 1u);
}

TEST_F(ProducerTest, Poll_SendsWhatWasCollected_WhenTheAnswerComes) {
  Send("a");
  const auto first = Polled();
  Send("b");
  Acknowledge(first[0].second, 7);
  EXPECT_EQ(Polled().size(), 1u);
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].base_offset, Offset(7));
}

TEST_F(ProducerTest, Poll_KeepsNoMoreBatchesInFlight_ThanTheBrokerRemembers) {
  producer_.Flush(now_);
  size_t sent = 0;
  for (int i = 0; i < 10; ++i) {
    Send("x");
    sent += Polled().size();
  }
  EXPECT_EQ(sent, 3u);
}

TEST_F(ProducerTest, StreamClosed_SendsAgain_WithTheSameSequencesAndNewIds) {
  Send("a");
  const auto before = Polled();
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  EXPECT_TRUE(Polled().empty()) << "before the back-off has passed";
  EXPECT_TRUE(output_.wants_metadata);
  now_ += 1s;
  const auto after = Polled();
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].second.batch().SerializeAsString(),
            before[0].second.batch().SerializeAsString());
  EXPECT_NE(after[0].second.batch_id(), before[0].second.batch_id());
}

TEST_F(ProducerTest, NewLeader_GetsEverythingUnanswered_AtOnceAndInOrder) {
  producer_.Flush(now_);
  Send("a");
  Polled();
  Send("b");
  Polled();
  producer_.OnLeader(handle_, {.broker = kTwo, .epoch = Term(2)});
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_EQ(batches[0].first, kTwo);
  EXPECT_EQ(batches[0].second.batch().first_sequence(), 0u);
  EXPECT_EQ(batches[1].second.batch().first_sequence(), 1u);
}

TEST_F(ProducerTest, OnLeader_IgnoresAnOlderEpoch) {
  producer_.OnLeader(handle_, {.broker = kTwo, .epoch = Term(3)});
  producer_.OnLeader(handle_, {.broker = kOne, .epoch = Term(2)});
  Send("a");
  EXPECT_EQ(Polled().at(0).first, kTwo);
}

TEST_F(ProducerTest, LateAnswerToAnEarlierAttempt_IsIgnored) {
  Send("a");
  const auto before = Polled();
  producer_.OnLeader(handle_, {.broker = kTwo, .epoch = Term(2)});
  Polled();
  Acknowledge(before[0].second, 3);
  Polled();
  EXPECT_TRUE(output_.reports.empty());
  EXPECT_EQ(producer_.unanswered_records(), 1u);
}

TEST_F(ProducerTest, RefusedForGood_FailsAllThatWaits_AndLaterRecordsTakeANewEpoch) {
  Send("a");
  const auto first = Polled();
  Send("b");
  Refuse(first[0].second, Code::kInvalidArgument);
  EXPECT_TRUE(Polled().empty());
  ASSERT_EQ(output_.reports.size(), 2u);
  EXPECT_EQ(output_.reports[1].status.code(), Code::kInvalidArgument);
  EXPECT_EQ(producer_.unanswered_records(), 0u);
  Send("c");
  EXPECT_TRUE(Polled().empty()) << "before the epoch is there";
  EXPECT_EQ(output_.wants_epoch_after, 0u);
  producer_.OnEpoch(kProducer, 1);
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].second.batch().producer_epoch(), 1u);
  EXPECT_EQ(batches[0].second.batch().first_sequence(), 0u);
  EXPECT_FALSE(output_.wants_epoch_after.has_value());
}

TEST_F(ProducerTest, TopicDeleted_EndsThePartition) {
  Send("a");
  Refuse(Polled().at(0).second, Code::kNotFound, Reason::kTopicDeleted);
  EXPECT_TRUE(Polled().empty());
  EXPECT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(producer_.Send(handle_, {.value = "b"}, now_).reason(), Reason::kTopicDeleted);
  EXPECT_FALSE(output_.wants_epoch_after.has_value());
}

TEST_F(ProducerTest, UnknownProducer_SendsAgainUnderANewEpoch_WhenNothingIsInDoubt) {
  Send("a");
  Acknowledge(Polled().at(0).second, 0);
  producer_.Flush(now_);
  Send("b");
  const auto refused = Polled();
  Send("c");
  Polled();
  Refuse(refused.at(0).second, Code::kOutOfRange, Reason::kUnknownProducer);
  EXPECT_TRUE(Polled().empty());
  EXPECT_TRUE(output_.reports.empty()) << "no record is lost";
  EXPECT_EQ(output_.wants_epoch_after, 0u);
  producer_.OnEpoch(kProducer, 1);
  now_ += 2s;
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 2u);
  for (uint32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(batches[i].second.batch().producer_epoch(), 1u);
    EXPECT_EQ(batches[i].second.batch().first_sequence(), i);
    const std::string bytes = batches[i].second.batch().SerializeAsString();
    const auto view = ParseRecordBatch(bytes, {ModelBrokers::kTopic, PartitionId(0)});
    EXPECT_TRUE(view.ok()) << view.status();
  }
}

TEST_F(ProducerTest, AnotherProducerId_IsTaken_WhereANewEpochWasWanted) {
  Send("a");
  Acknowledge(Polled().at(0).second, 0);
  Send("b");
  Refuse(Polled().at(0).second, Code::kFailedPrecondition, Reason::kUnknownProducer);
  Polled();
  producer_.OnEpoch(ProducerId(6), 0);
  now_ += 2s;
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].second.batch().producer_id(), 6u);
  EXPECT_EQ(batches[0].second.batch().producer_epoch(), 0u);
  EXPECT_EQ(batches[0].second.batch().first_sequence(), 0u);
  EXPECT_FALSE(output_.wants_epoch_after.has_value());
}

TEST_F(ProducerTest, AProducerIdThatWasNeverGiven_LeavesNothingInDoubt) {
  Send("a");
  Refuse(Polled().at(0).second, Code::kNotFound, Reason::kUnknownProducer);
  EXPECT_TRUE(Polled().empty());
  EXPECT_TRUE(output_.reports.empty());
  EXPECT_EQ(output_.wants_epoch_after, 0u);
  producer_.OnEpoch(ProducerId(6), 0);
  now_ += 2s;
  EXPECT_EQ(Polled().size(), 1u);
}

TEST_F(ProducerTest, UnknownProducer_FailsTheRecords_WhenOneOfThemMayBeStored) {
  Send("a");
  Acknowledge(Polled().at(0).second, 0);
  Send("b");
  Polled();
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  now_ += 2s;
  Refuse(Polled().at(0).second, Code::kOutOfRange, Reason::kUnknownProducer);
  Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.reason(), Reason::kUnknownProducer);
  EXPECT_TRUE(output_.reports[0].may_be_stored);
}

TEST_F(ProducerTest, ABatchInDoubt_IsSentAgainAsRepeated_AndNoOther) {
  Send("a");
  EXPECT_FALSE(Polled().at(0).second.is_repeated());
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  Send("b");
  now_ += 2s;
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 2u);
  EXPECT_TRUE(batches[0].second.is_repeated());
  EXPECT_FALSE(batches[1].second.is_repeated());
}

TEST_F(ProducerTest, RefusedBatch_AndWhatFollowsIt_AreCertainlyNotStored) {
  Send("a");
  const auto first = Polled().at(0).second;
  Send("b");
  producer_.Flush(now_);
  ASSERT_EQ(Polled().size(), 1u);
  Refuse(first, Code::kInvalidArgument, Reason::kNone);
  Polled();
  ASSERT_EQ(output_.reports.size(), 2u);
  EXPECT_FALSE(output_.reports[0].may_be_stored);
  EXPECT_FALSE(output_.reports[1].may_be_stored);
}

TEST_F(ProducerTest, RefusedBatch_MayBeStored_IfAnEarlierAttemptHadNoAnswer) {
  Send("a");
  Polled();
  Send("b");
  producer_.Flush(now_);
  Polled();
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  now_ += 2s;
  Refuse(Polled().at(0).second, Code::kInvalidArgument, Reason::kNone);
  Polled();
  ASSERT_EQ(output_.reports.size(), 2u);
  EXPECT_TRUE(output_.reports[0].may_be_stored);
  EXPECT_TRUE(output_.reports[1].may_be_stored);
}

TEST_F(ProducerTest, TimedOutRecord_IsCertainlyNotStored_IfItNeverLeft) {
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  Send("a");
  now_ += 200s;
  Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(output_.reports[0].may_be_stored);
}

TEST_F(ProducerTest, RetryInfo_IsWaitedFor) {
  Send("a");
  v1::ProduceResult result;
  result.set_batch_id(Polled().at(0).second.batch_id());
  result.mutable_error()->set_code(static_cast<int>(Code::kResourceExhausted));
  result.mutable_error()->mutable_retry()->mutable_retry_delay()->set_seconds(30);
  producer_.OnResult(kOne, result, now_);
  now_ += 29s;
  EXPECT_TRUE(Polled().empty());
  now_ += 1s;
  EXPECT_EQ(Polled().size(), 1u);
}

TEST_F(ProducerTest, ClosedStream_IsNotOpenedAgainAtOnce_ForAPartitionThatHadNothingOnIt) {
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  Send("a");
  EXPECT_TRUE(Polled().empty());
  ASSERT_TRUE(output_.wake_at.has_value());
  EXPECT_LT(*output_.wake_at, now_ + 1s);
  now_ = *output_.wake_at;
  EXPECT_EQ(Polled().size(), 1u);
}

TEST_F(ProducerTest, UnknownTopic_IsTriedAgain_ForAWhileOnly) {
  Send("a");
  Refuse(Polled().at(0).second, Code::kNotFound, Reason::kUnknownTopic);
  now_ += 1s;
  auto again = Polled();
  ASSERT_EQ(again.size(), 1u);
  now_ += 5s;
  Refuse(again[0].second, Code::kNotFound, Reason::kUnknownTopic);
  Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.reason(), Reason::kUnknownTopic);
}

TEST_F(ProducerTest, DeliveryTimeout_FailsWhatIsUnanswered) {
  Send("a");
  Polled();
  now_ += 200s;
  Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.code(), Code::kDeadlineExceeded);
}

TEST_F(ProducerTest, Send_RefusesARecord_ThatNoBrokerWouldTake) {
  const std::string huge(2 << 20, 'x');
  const Status sent = producer_.Send(handle_, {.value = huge}, now_);
  EXPECT_EQ(sent.reason(), Reason::kBatchTooLarge);
}

TEST_F(ProducerTest, ARecordAsLargeAsTheTopicTakes_IsABatchByItself) {
  producer_.SetBatchLimit(3 << 20);
  producer_.Flush(now_);
  Send("a");
  Send(std::string(2 << 20, 'x'));
  Send("b");
  size_t sent = 0;
  for (const auto& [to, batch] : Polled()) sent += batch.batch().record_count();
  EXPECT_EQ(sent, 3u);
  EXPECT_EQ(producer_.Send(handle_, {.value = std::string(3 << 20, 'x')}, now_).reason(),
            Reason::kBatchTooLarge);
}

TEST_F(ProducerTest, BatchesGrow_OnlyAsFarAsTheTopicAllows) {
  producer_.SetBatchLimit(1 << 10);
  Send("a");
  Polled();
  for (int i = 0; i < 100; ++i) Send(std::string(100, 'x'));
  now_ += 1s;
  const auto batches = Polled();
  EXPECT_FALSE(batches.empty());
  for (const auto& [to, batch] : batches) EXPECT_LE(batch.batch().ByteSizeLong(), 1u << 10);
}

TEST_F(ProducerTest, BatchThatIsTooLarge_IsSplit_WithTheSequencesOfItsRecords) {
  Send("first");
  const auto first = Polled();
  for (int i = 0; i < 10; ++i) Send(std::string(300, 'x'));
  Acknowledge(first[0].second, 0);
  const auto whole = Polled();
  ASSERT_EQ(whole.size(), 1u);
  Send("behind");
  producer_.Flush(now_);
  ASSERT_EQ(Polled().size(), 1u);
  RefuseAsTooLarge(whole[0].second, 1 << 10);
  uint32_t next = 1;
  while (next < 12) {
    const auto parts = Polled();
    ASSERT_FALSE(parts.empty());
    for (const auto& [to, part] : parts) {
      EXPECT_LE(part.batch().ByteSizeLong(), 1u << 10);
      EXPECT_EQ(part.batch().first_sequence(), next);
      EXPECT_EQ(part.batch().producer_epoch(), 0u);
      Acknowledge(part, next);
      next += part.batch().record_count();
    }
  }
  EXPECT_EQ(next, 12u);
  Polled();
  EXPECT_EQ(producer_.unanswered_records(), 0u);
}

TEST_F(ProducerTest, RecordThatIsTooLargeByItself_Fails) {
  Send(std::string(5000, 'x'));
  RefuseAsTooLarge(Polled().at(0).second, 1 << 10);
  Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.reason(), Reason::kBatchTooLarge);
  EXPECT_FALSE(output_.reports[0].may_be_stored);
}

TEST_F(ProducerTest, Flush_SendsWhatWasCollectedBefore_AndLetsLaterRecordsLinger) {
  Send("a");
  Polled();
  Send("b");
  producer_.Flush(now_);
  EXPECT_EQ(Polled().size(), 1u);
  now_ += 1ms;
  Send("c");
  EXPECT_TRUE(Polled().empty());
}

TEST_F(ProducerTest, Poll_ServesPartitionsInTurn_WhenTheStreamsWindowIsSmall) {
  producer_.OnStreamInit(kOne, 1);
  const uint32_t other = producer_.AddPartition({ModelBrokers::kTopic, PartitionId(1)});
  producer_.OnLeader(other, {.broker = kOne, .epoch = Term(1)});
  Send("a");
  auto batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  ASSERT_TRUE(producer_.Send(other, {.value = "x"}, now_).ok());
  producer_.Flush(now_);
  Send("b");
  EXPECT_TRUE(Polled().empty()) << "one at a time fits";
  Acknowledge(batches[0].second, 0);
  batches = Polled();
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].second.partition(), 1u);
  Acknowledge(batches[0].second, 0);
  EXPECT_EQ(Polled().at(0).second.partition(), 0u);
}

TEST_F(ProducerTest, ARecordWithAnExpectedEnd_IsABatchByItself) {
  producer_.Flush(now_);
  SendAt(0);
  Send("a");
  Send("b");
  SendAt(3);
  Send("c");
  now_ += 1s;
  std::vector<v1::ProduceBatch> sent;
  for (int64_t i = 0; i < 4; ++i) {
    for (const auto& [to, batch] : Polled()) sent.push_back(batch);
    if (i < static_cast<int64_t>(sent.size())) Acknowledge(sent[static_cast<size_t>(i)], i);
  }
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_TRUE(sent[0].has_expected_end_offset()) << "0 is an end, too";
  EXPECT_EQ(sent[0].expected_end_offset(), 0);
  EXPECT_FALSE(sent[1].has_expected_end_offset());
  EXPECT_EQ(sent[1].batch().record_count(), 2u);
  EXPECT_EQ(sent[2].expected_end_offset(), 3);
  EXPECT_EQ(sent[2].batch().record_count(), 1u);
  EXPECT_FALSE(sent[3].has_expected_end_offset());
}

TEST_F(ProducerTest, AnExpectedEnd_IsKept_WhenTheBatchIsSentAgain) {
  SendAt(7);
  Polled();
  producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
  now_ += 1s;
  const auto again = Polled();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].second.expected_end_offset(), 7);
  EXPECT_TRUE(again[0].second.is_repeated());
}

TEST_F(ProducerTest, ARecordWhoseEndHasMoved_FailsAlone_AndTheNextTakesItsSequence) {
  SendAt(0);
  const auto batches = Polled();
  Send("a");
  RefuseAsMoved(batches[0].second, 5);
  const auto after = Polled();
  ASSERT_EQ(output_.reports.size(), 1u);
  EXPECT_EQ(output_.reports[0].status.reason(), Reason::kOffsetMoved);
  EXPECT_FALSE(output_.reports[0].may_be_stored);
  EXPECT_FALSE(output_.wants_epoch_after.has_value());
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].second.batch().first_sequence(), 0u);
}

TEST_F(ProducerTest, WhatRestsOnARecordWhoseEndHasMoved_FailsWithIt_AndOtherRecordsDoNot) {
  SendAt(0);
  SendAt(1);
  Send("a");
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 2u);
  now_ += 1s;
  ASSERT_EQ(Polled().size(), 1u);
  RefuseAsMoved(batches[0].second, 1);
  EXPECT_TRUE(Polled().empty()) << "an attempt of theirs may be on its way under this epoch";
  ASSERT_EQ(output_.reports.size(), 2u);
  EXPECT_EQ(output_.reports[1].status.reason(), Reason::kOffsetMoved)
      << "though the log ends where it was to be stored";
  EXPECT_FALSE(output_.reports[1].may_be_stored);
  ASSERT_TRUE(output_.wants_epoch_after.has_value());
  producer_.OnEpoch(kProducer, 1);
  const auto after = Polled();
  ASSERT_EQ(after.size(), 1u);
  EXPECT_EQ(after[0].second.batch().producer_epoch(), 1u);
  EXPECT_EQ(after[0].second.batch().first_sequence(), 0u);
  EXPECT_FALSE(after[0].second.is_repeated());
}

TEST_F(ProducerTest, ARecordInDoubtWhoseEndHasMoved_IsCertainlyNotStored_OnceTheLogIsPastIt) {
  for (const int64_t end : {5, 3}) {
    SendAt(4);
    Polled();
    producer_.OnStreamClosed(kOne, Unavailable("gone"), now_);
    now_ += 2s;
    const auto again = Polled();
    ASSERT_EQ(again.size(), 1u);
    RefuseAsMoved(again[0].second, end);
    Polled();
    ASSERT_EQ(output_.reports.size(), 1u);
    EXPECT_EQ(output_.reports[0].status.reason(), Reason::kOffsetMoved);
    EXPECT_EQ(output_.reports[0].may_be_stored, end < 4) << "the log may come there yet";
    EXPECT_EQ(output_.wants_epoch_after.has_value(), end < 4);
  }
}

class SmallProducerTest : public ProducerTest {
 protected:
  SmallProducerTest()
      : ProducerTest({.batch_bytes = 100,
                      .memory_bytes_max = 300,
                      .inflight_bytes_max = 500,
                      .message_bytes_max = 150}) {}
};

TEST_F(SmallProducerTest, Send_Refuses_WhenMemoryIsFull_AndTakesMoreOnceAnswered) {
  const std::string value(90, 'x');
  Send(value);
  Send(value);
  Send(value);
  EXPECT_EQ(producer_.Send(handle_, {.value = value}, now_).code(), Code::kResourceExhausted);
  const auto batches = Polled();
  ASSERT_EQ(batches.size(), 2u) << "the third still collects";
  EXPECT_EQ(output_.messages.size(), 2u) << "each batch fills a message";
  Acknowledge(batches[0].second, 0);
  EXPECT_TRUE(producer_.HasRoom(94));
}

}  // namespace
}  // namespace millrace::client

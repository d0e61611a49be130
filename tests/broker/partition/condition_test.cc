// Batches that are stored at one offset or not at all, over a group whose fate the test decides.
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
#include "tests/broker/partition/lone_partition.h"

namespace millrace::broker {
namespace {

using Outcome = std::optional<Result<ProduceOutcome>>;

struct Sent {
  int records = 1;
  std::optional<int64_t> expected_end = {};
  ProducerId producer = {};
  uint32_t first_sequence = 0;
  BatchCompression compression = BatchCompression::kNone;
};

class ConditionTest : public testing::Test, protected LonePartition {
 protected:
  ConditionTest() : LonePartition(RaftGroupId(7)) {}

  void SetUp() override {
    internal::v1::ControllerRecord drawn;
    drawn.mutable_producer_id_key_drawn()->set_key(key_);
    ASSERT_TRUE(image_.Apply(drawn).ok());
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(1));
  }

  const Outcome& Produce(const Sent& sent) {
    RecordBatchBuilder builder({});
    const std::string value(1'000, 'v');
    for (int i = 0; i < sent.records; ++i) CHECK(builder.TryAppend({.value = value}));
    SentBatch batch{.bytes = std::move(builder).Finish({.producer_id = sent.producer,
                                                        .first_sequence = sent.first_sequence,
                                                        .destination = partition_.name(),
                                                        .compression = sent.compression})};
    if (sent.expected_end) batch.expected_end = Offset(*sent.expected_end);
    Outcome& outcome = *outcomes_.emplace_back(std::make_unique<Outcome>());
    partition_.Produce(std::move(batch),
                       [&outcome](Result<ProduceOutcome> done) { outcome = std::move(done); });
    return outcome;
  }
  ProducerId Producer() { return MarkProducer(key_, kProducerNumberMin); }

  const std::string key_ = std::string(kProducerIdKeyBytes, 'k');
  std::vector<std::unique_ptr<Outcome>> outcomes_;
};

void ExpectStoredAt(const Outcome& outcome, int64_t offset) {
  ASSERT_TRUE(outcome.has_value());
  ASSERT_TRUE(outcome->ok()) << outcome->status();
  EXPECT_EQ((*outcome)->base_offset, Offset(offset));
}

void ExpectMoved(const Outcome& outcome, const std::string& end) {
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->status().code(), Code::kFailedPrecondition) << outcome->status();
  EXPECT_EQ(outcome->status().reason(), Reason::kOffsetMoved);
  EXPECT_THAT(outcome->status().metadata(), testing::ElementsAre(testing::Pair("end_offset", end)));
}

TEST_F(ConditionTest, ABatch_IsStoredAtTheOffsetThatItNames) {
  const auto& first = Produce({.records = 3, .expected_end = 0});
  group_.CommitAll();
  ExpectStoredAt(first, 0);
  const auto& next = Produce({.expected_end = 3});
  group_.CommitAll();
  ExpectStoredAt(next, 3);
}

TEST_F(ConditionTest, PipelinedBatches_MayEachNameTheEndOfTheOneBefore) {
  const auto& first = Produce({.records = 2, .expected_end = 0});
  const auto& second = Produce({.records = 3, .expected_end = 2});
  const auto& third = Produce({.expected_end = 5});
  group_.CommitAll();
  ExpectStoredAt(first, 0);
  ExpectStoredAt(second, 2);
  ExpectStoredAt(third, 5);
}

TEST_F(ConditionTest, ABatchThatNamesAnotherOffset_IsToldTheEnd_AndNothingIsStored) {
  Produce({.records = 3});
  group_.CommitAll();
  for (const int64_t elsewhere : {0, 2, 4}) {
    const auto& refused = Produce({.expected_end = elsewhere});
    group_.AnswerBarriers(Status::Ok());
    ExpectMoved(refused, "3");
  }
  EXPECT_EQ(group_.next_offset(), Offset(3));
}

TEST_F(ConditionTest, ANegativeOffset_IsRefusedAtOnce) {
  const auto& refused = Produce({.expected_end = -1});
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->status().code(), Code::kInvalidArgument);
  EXPECT_THAT(refused->status().message(), testing::HasSubstr("expected_end_offset"));
}

// "Sequence first, condition second."
TEST_F(ConditionTest, Rule85_ARetryOfWhatIsStored_IsADuplicate_ThoughItMovedTheEndItself) {
  const auto& lost = Produce({.expected_end = 0, .producer = Producer()});
  const auto& while_in_flight = Produce({.expected_end = 0, .producer = Producer()});
  group_.CommitAll();
  ExpectStoredAt(lost, 0);
  ExpectStoredAt(while_in_flight, 0);
  Produce({.records = 2});
  group_.CommitAll();
  const auto& afterwards = Produce({.expected_end = 0, .producer = Producer()});
  ExpectStoredAt(afterwards, 0);
  ASSERT_TRUE(afterwards.has_value() && afterwards->ok());
  EXPECT_TRUE((*afterwards)->is_duplicate);
  EXPECT_EQ(group_.next_offset(), Offset(3));
}

// "A refusal is given only after what it rests on is applied and leadership is confirmed."
TEST_F(ConditionTest, Rule86_ARefusal_WaitsForWhatIsInFlight_AndThenForTheLeadToBeConfirmed) {
  Produce({.records = 2});
  const auto& refused = Produce({.expected_end = 0});
  group_.AnswerBarriers(Status::Ok());
  EXPECT_FALSE(refused.has_value()) << "what moved the end may be cut";
  group_.CommitAll();
  EXPECT_FALSE(refused.has_value()) << "another leader may know better";
  Produce({.records = 5});
  group_.AnswerBarriers(Status::Ok());
  ExpectMoved(refused, "2");
}

TEST_F(ConditionTest, Rule86_WhoLosesTheLeadMeanwhile_RefusesNobody) {
  Produce({.records = 2});
  const auto& in_flight = Produce({.expected_end = 0});
  group_.Follow(Term(2));
  ASSERT_TRUE(in_flight.has_value());
  EXPECT_EQ(in_flight->status().code(), Code::kUnavailable);
  group_.CutUncommitted();
  group_.Lead(Term(3));
  const auto& again = Produce({.expected_end = 0});
  group_.CommitAll();
  ExpectStoredAt(again, 0);
  const auto& unconfirmed = Produce({.expected_end = 0});
  group_.AnswerBarriers(Unavailable("lost", Reason::kNotLeader));
  ASSERT_TRUE(unconfirmed.has_value());
  EXPECT_EQ(unconfirmed->status().code(), Code::kUnavailable);
}

TEST_F(ConditionTest, WhatIsBeingChecked_StandsBeforeWhatCameAfterIt) {
  const auto& compressed = Produce({.records = 3, .compression = BatchCompression::kZstd});
  const auto& behind = Produce({.expected_end = 3});
  const auto& too_early = Produce({.expected_end = 0});
  world_.RunFor(std::chrono::milliseconds(1));
  group_.CommitAll();
  group_.AnswerBarriers(Status::Ok());
  ExpectStoredAt(compressed, 0);
  ExpectStoredAt(behind, 3);
  ExpectMoved(too_early, "4");
}

TEST_F(ConditionTest, ARefusedBatch_TakesNoSequence) {
  Produce({.producer = Producer()});
  group_.CommitAll();
  const auto& refused = Produce({.expected_end = 0, .producer = Producer(), .first_sequence = 1});
  group_.AnswerBarriers(Status::Ok());
  ExpectMoved(refused, "1");
  const auto& behind = Produce({.producer = Producer(), .first_sequence = 2});
  group_.AnswerBarriers(Status::Ok());
  ASSERT_TRUE(behind.has_value());
  EXPECT_EQ(behind->status().reason(), Reason::kSequenceGap);
  const auto& another = Produce({.expected_end = 1, .producer = Producer(), .first_sequence = 1});
  group_.CommitAll();
  ExpectStoredAt(another, 1);
}

}  // namespace
}  // namespace millrace::broker

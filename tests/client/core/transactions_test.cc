// Transactions of a producer against brokers that check them: the state machine with a coordinator
// in the test's hands.

#include "client/core/transactions.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/core/producer.h"
#include "tests/client/core/model_brokers.h"

namespace millrace::client {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr ProducerId kProducer(1029);
constexpr uint32_t kPartitions = 2;

ProducerTuning Transactional() {
  ProducerTuning tuning;
  tuning.transactional_id = "orders";
  tuning.delivery_timeout = 60s;
  return tuning;
}

// A producer and two brokers with a partition each; what is asked of the coordinator is answered
// when the test says so.
class TransactionsTest : public ::testing::Test {
 protected:
  TransactionsTest()
      : producer_(
            Transactional(),
            {.id = kProducer, .epoch = brokers_.InitTransactions(), .inflight_batches_max = 3},
            Random(1)) {
    for (uint32_t i = 0; i < kPartitions; ++i) {
      producer_.AddPartition({ModelBrokers::kTopic, PartitionId(i)});
      producer_.OnLeader(i, brokers_.leader(i));
    }
  }

  Status Send(uint32_t partition, const std::string& value) {
    return producer_.Send(partition, {.value = value}, now_);
  }
  void Begin() {
    const Status begun = producer_.BeginTransaction();
    ASSERT_TRUE(begun.ok()) << begun;
  }
  void SendOk(uint32_t partition, const std::string& value) {
    const Status sent = Send(partition, value);
    ASSERT_TRUE(sent.ok()) << sent;
  }
  void End(bool is_commit) {
    const Status ended = producer_.EndTransaction(is_commit, now_);
    ASSERT_TRUE(ended.ok()) << ended;
  }

  // Hands what is to be sent to the brokers, which do not look at it yet.
  void Poll() {
    ProducerOutput output;
    producer_.Poll(now_, &output);
    producer_.CheckInvariants();
    for (const ProducerOutput::Message& message : output.messages) brokers_.Receive(message);
    for (const DeliveryReport& report : output.reports) reports_.push_back(report);
    for (const Status& outcome : output.outcomes) outcomes_.push_back(outcome);
    wanted_ = output.wants_of_transactions;
  }
  // The broker takes all that it has, with `error` if that is one, and answers.
  void Answer(uint32_t broker, const Status& error = {}) {
    while (brokers_.has_work(BrokerId(broker))) brokers_.HandleOne(BrokerId(broker), error);
    while (const auto result = brokers_.TakeAnswer(BrokerId(broker))) {
      producer_.OnResult(BrokerId(broker), *result, now_);
    }
    Poll();
  }
  // Until nothing is on its way to brokers.
  void AnswerAll() {
    Poll();
    for (int round = 0; round < 50; ++round) {
      now_ += 100ms;
      Answer(1);
      Answer(2);
    }
  }
  // The coordinator does what is wanted, and the producer hears of it.
  void Coordinate() {
    ASSERT_TRUE(wanted_.has_value());
    const TransactionAsk ask = *wanted_;
    switch (ask.kind) {
      case TransactionAsk::Kind::kInitialize:
        producer_.OnTransactionsInitialized(kProducer, brokers_.InitTransactions());
        break;
      case TransactionAsk::Kind::kStageOffsets:
        producer_.OnOffsetsStaged(ask, staged_);
        break;
      case TransactionAsk::Kind::kEnd:
        producer_.OnTransactionEnded(ask, EndAtCoordinator(ask));
    }
    Poll();
  }
  Status EndAtCoordinator(const TransactionAsk& ask) {
    return brokers_.EndTransaction(producer_.identity().epoch, ask.number, ask.is_commit);
  }
  void CoordinateAll() {
    for (int round = 0; round < 20 && wanted_; ++round) {
      Coordinate();
      AnswerAll();
    }
  }
  // Its coordinator ends it without being asked to: after too long, or by an administrator.
  void AbortBehindItsBack(uint64_t number) {
    ASSERT_TRUE(brokers_.EndTransaction(producer_.identity().epoch, number, false).ok());
  }
  bool Wants(TransactionAsk::Kind kind) const { return wanted_ && wanted_->kind == kind; }

  MonotonicTime now_{1s};
  ModelBrokers brokers_{2, kPartitions};
  Producer producer_;
  std::vector<DeliveryReport> reports_;
  std::vector<Status> outcomes_;
  std::optional<TransactionAsk> wanted_;
  Status staged_;  // what the group says of offsets
};

constexpr auto kStageOffsets = TransactionAsk::Kind::kStageOffsets;
constexpr auto kEnd = TransactionAsk::Kind::kEnd;
constexpr auto kInitialize = TransactionAsk::Kind::kInitialize;

TEST_F(TransactionsTest, Commit_EndsIt_OnceAllItsRecordsAreAcknowledged) {
  Begin();
  SendOk(0, "a");
  SendOk(1, "b");
  End(true);
  Poll();
  Answer(1);
  EXPECT_FALSE(wanted_.has_value()) << "the record of the other broker has no answer";
  Answer(2);
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_EQ(wanted_->number, 1u);
  EXPECT_TRUE(wanted_->is_commit);
  EXPECT_THAT(outcomes_, IsEmpty());
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("a"));
  EXPECT_THAT(brokers_.Committed(1), ElementsAre("b"));
  EXPECT_FALSE(wanted_.has_value());
}

TEST_F(TransactionsTest, Offsets_AreStagedOnceAllIsAcknowledged_AndBeforeItEnds) {
  Begin();
  SendOk(0, "a");
  ASSERT_TRUE(producer_.HasOffsets().ok());
  End(true);
  Poll();
  EXPECT_FALSE(wanted_.has_value());
  Answer(1);
  ASSERT_TRUE(Wants(kStageOffsets));
  EXPECT_EQ(wanted_->number, 1u);
  Coordinate();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_TRUE(wanted_->is_commit);
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
}

TEST_F(TransactionsTest, Offsets_OfOneThatIsAborted_AreNotStaged) {
  Begin();
  ASSERT_TRUE(producer_.HasOffsets().ok());
  End(false);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  Begin();
  EXPECT_TRUE(producer_.HasOffsets().ok());
}

TEST_F(TransactionsTest, Offsets_ThatAreRefused_FailIt_AndWhatMayHealIsAskedAgain) {
  Begin();
  SendOk(0, "a");
  ASSERT_TRUE(producer_.HasOffsets().ok());
  End(true);
  AnswerAll();
  ASSERT_TRUE(Wants(kStageOffsets));
  staged_ = Unavailable("not now");
  Coordinate();
  ASSERT_TRUE(Wants(kStageOffsets)) << "it has not failed";
  staged_ = Aborted("it is no member any more", Reason::kMemberFenced);
  Coordinate();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionEnded);
  EXPECT_THAT(std::string(outcomes_[0].message()), HasSubstr("it is no member any more"));
  EXPECT_THAT(brokers_.Committed(0), IsEmpty());
}

TEST_F(TransactionsTest, Offsets_OfAFencedProducer_EndEverything) {
  Begin();
  ASSERT_TRUE(producer_.HasOffsets().ok());
  End(true);
  Poll();
  staged_ = Aborted("another one has the id", Reason::kTransactionFenced);
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer_.BeginTransaction().reason(), Reason::kTransactionFenced);
}

TEST_F(TransactionsTest, Commit_SendsWhatLingers_AtOnce) {
  Begin();
  SendOk(0, "a");
  Poll();
  SendOk(0, "lingers");
  Poll();
  EXPECT_TRUE(brokers_.has_work(BrokerId(1)));
  brokers_.HandleOne(BrokerId(1));
  EXPECT_FALSE(brokers_.has_work(BrokerId(1)));
  End(true);
  Poll();
  EXPECT_TRUE(brokers_.has_work(BrokerId(1)));
}

TEST_F(TransactionsTest, Abort_AsksForIt_WithoutANewEpoch_WhenAllWasAcknowledged) {
  Begin();
  SendOk(0, "a");
  AnswerAll();
  End(false);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
  EXPECT_FALSE(wanted_.has_value());
  Begin();
  SendOk(0, "b");
  End(true);
  AnswerAll();
  EXPECT_EQ(wanted_->number, 2u);
  Coordinate();
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
}

TEST_F(TransactionsTest, Abort_WaitsForNoAnswer_AndTheNextOneHasANewEpoch) {
  Begin();
  SendOk(0, "a");
  Poll();
  End(false);
  Poll();
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].status.code(), Code::kAborted) << reports_[0].status;
  EXPECT_TRUE(reports_[0].may_be_stored);
  ASSERT_TRUE(Wants(kEnd));
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
  ASSERT_TRUE(Wants(kInitialize));
  Begin();
  SendOk(0, "b");
  End(true);
  Poll();
  CoordinateAll();
  EXPECT_EQ(producer_.identity().epoch, 2u);
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
  EXPECT_EQ(outcomes_.size(), 2u);
}

TEST_F(TransactionsTest, Rule71_OneWithoutARecord_IsEndedAtTheCoordinatorToo) {
  Begin();
  End(true);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
}

TEST_F(TransactionsTest, Misuse_IsRefused) {
  EXPECT_EQ(Send(0, "x").code(), Code::kFailedPrecondition) << "no transaction is open";
  EXPECT_EQ(producer_.EndTransaction(true, now_).code(), Code::kFailedPrecondition);
  EXPECT_EQ(producer_.HasOffsets().code(), Code::kFailedPrecondition);
  Begin();
  EXPECT_EQ(producer_.BeginTransaction().code(), Code::kFailedPrecondition) << "one is open";
  End(true);
  EXPECT_EQ(Send(0, "x").code(), Code::kFailedPrecondition);

  Producer plain({}, {.id = kProducer}, Random(1));
  EXPECT_EQ(plain.BeginTransaction().code(), Code::kFailedPrecondition);
  EXPECT_EQ(plain.EndTransaction(true, now_).code(), Code::kFailedPrecondition);
}

TEST_F(TransactionsTest, ThoseThatHaveNotEnded_AreBounded) {
  for (size_t i = 0; i < Transactions::kTransactionsMax; ++i) {
    Begin();
    End(true);
  }
  EXPECT_EQ(producer_.BeginTransaction().code(), Code::kResourceExhausted);
}

// A coordinator that heard of the second one first would take the first for one without records.
TEST_F(TransactionsTest, Rule72_TheNextOnesRecords_WaitForAnswersToThoseBefore_AndNotForTheEnd) {
  Begin();
  SendOk(0, "a");
  End(true);
  Begin();
  SendOk(1, "b");
  Poll();
  EXPECT_FALSE(brokers_.has_work(BrokerId(2)));
  Answer(1);
  EXPECT_TRUE(brokers_.has_work(BrokerId(2))) << "End(1) is not answered";
  ASSERT_TRUE(Wants(kEnd));
  End(true);
  Poll();
  EXPECT_EQ(wanted_->number, 1u) << "one after the other";
  Coordinate();
  Answer(2);
  EXPECT_EQ(wanted_->number, 2u);
  Coordinate();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok(), Status::Ok()));
  EXPECT_THAT(brokers_.Committed(1), ElementsAre("b"));
}

// A partition has them registered one after the other.
TEST_F(TransactionsTest, TheNextOnesRecords_FollowThoseBefore_InTheSamePartition) {
  Begin();
  SendOk(0, "a");
  End(true);
  Poll();
  ASSERT_TRUE(brokers_.has_work(BrokerId(1)));
  Begin();
  SendOk(0, "b");
  Poll();
  EXPECT_EQ(brokers_.unhandled(BrokerId(1)), 2u);
  SendOk(1, "c");
  Poll();
  EXPECT_FALSE(brokers_.has_work(BrokerId(2))) << "what is before it is unanswered elsewhere";
  End(true);
  AnswerAll();
  CoordinateAll();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok(), Status::Ok()));
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("a", "b"));
  EXPECT_THAT(brokers_.Committed(1), ElementsAre("c"));
}

TEST_F(TransactionsTest, WhatFollowedOneThatFailed_IsSentAgainInTheNewEpoch) {
  Begin();
  SendOk(0, "a");
  End(true);
  Begin();
  SendOk(0, "b");
  End(true);
  Poll();
  brokers_.HandleOne(BrokerId(1), InvalidArgument("no such record"));
  AnswerAll();
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  EXPECT_TRUE(outcomes_[1].ok()) << outcomes_[1];
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
}

TEST_F(TransactionsTest, ARecordThatIsRefused_AbortsItsTransaction_AndTheNextBeginsInANewEpoch) {
  Begin();
  SendOk(0, "a");
  SendOk(1, "b");
  Poll();
  Answer(1, InvalidArgument("no such record"));
  ASSERT_EQ(reports_.size(), 2u) << "nothing of it is sent any more";
  EXPECT_EQ(reports_[0].status.code(), Code::kInvalidArgument);
  EXPECT_EQ(reports_[1].status.code(), Code::kAborted);
  EXPECT_THAT(reports_[1].status.message(), HasSubstr("no such record"));
  EXPECT_EQ(Send(1, "c").code(), Code::kAborted);
  EXPECT_FALSE(wanted_.has_value()) << "the program has not ended it";
  End(true);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  EXPECT_THAT(outcomes_[0].message(), HasSubstr("no such record"));
  ASSERT_TRUE(Wants(kInitialize));

  Begin();
  SendOk(0, "d");
  SendOk(1, "e");
  End(true);
  Poll();
  EXPECT_FALSE(brokers_.has_work(BrokerId(1))) << "not before it has the epoch";
  Coordinate();
  AnswerAll();
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_EQ(wanted_->number, 1u);
  Coordinate();
  EXPECT_TRUE(outcomes_[1].ok()) << outcomes_[1];
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("d"));
  EXPECT_THAT(brokers_.Committed(1), ElementsAre("e"));
}

TEST_F(TransactionsTest, ARecordOfUnknownFate_AbortsItsTransaction) {
  Begin();
  SendOk(0, "a");
  End(true);
  Poll();
  brokers_.HandleOne(BrokerId(1));  // it is stored, and nobody hears of it
  brokers_.BreakStream(BrokerId(1));
  now_ += 60s;
  Poll();
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].status.code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(reports_[0].may_be_stored);
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  EXPECT_THAT(brokers_.Committed(0), IsEmpty());
  EXPECT_EQ(producer_.identity().epoch, 2u);
}

// As after a week without a transaction.
TEST_F(TransactionsTest, AnIdThatWasForgotten_IsInitializedAgain_AndNoPartitionIsLost) {
  Begin();
  SendOk(0, "a");
  Poll();
  const Status forgotten = NotFound("no such producer", Reason::kUnknownProducer);
  Answer(1, forgotten);
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_EQ(reports_[0].status.reason(), Reason::kUnknownProducer);
  End(true);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  producer_.OnTransactionEnded(*wanted_, forgotten);
  Poll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  ASSERT_TRUE(Wants(kInitialize));
  Coordinate();
  Begin();
  SendOk(0, "b");
  End(true);
  AnswerAll();
  CoordinateAll();
  EXPECT_TRUE(outcomes_[1].ok()) << outcomes_[1];
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
}

TEST_F(TransactionsTest, WhatIsBehindOneThatFailed_IsSentAgainInTheNewEpoch_OnceEach) {
  Begin();
  SendOk(0, "a");
  SendOk(1, "b");
  End(true);
  Begin();
  SendOk(0, "c");
  SendOk(1, "d");
  End(true);
  Poll();
  Answer(2);
  Answer(1, InvalidArgument("no such record"));
  AnswerAll();
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 2u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  EXPECT_TRUE(outcomes_[1].ok()) << outcomes_[1];
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("c"));
  EXPECT_THAT(brokers_.Committed(1), ElementsAre("d"));
}

TEST_F(TransactionsTest, Rule68_OneThatEndedBehindItsBack_IsTold_AndTheNextGoesOnInTheSameEpoch) {
  Begin();
  SendOk(0, "a");
  AnswerAll();
  AbortBehindItsBack(1);
  End(true);
  Poll();
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionEnded);
  EXPECT_THAT(outcomes_[0].metadata(), ElementsAre(std::pair("outcome", "aborted")));
  EXPECT_FALSE(wanted_.has_value());
  Begin();
  SendOk(0, "b");
  End(true);
  AnswerAll();
  CoordinateAll();
  EXPECT_TRUE(outcomes_[1].ok());
  EXPECT_EQ(producer_.identity().epoch, 1u);
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
}

TEST_F(TransactionsTest, Rule68_RecordsOfOneThatEndedBehindItsBack_AreTold_AndTheNextGoesOn) {
  Begin();
  SendOk(0, "a");
  AnswerAll();
  AbortBehindItsBack(1);
  SendOk(0, "late");
  AnswerAll();
  ASSERT_EQ(reports_.size(), 2u);
  EXPECT_EQ(reports_[1].status.reason(), Reason::kTransactionEnded);
  End(true);
  Poll();
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionEnded);
  Begin();
  SendOk(0, "b");
  End(true);
  AnswerAll();
  CoordinateAll();
  EXPECT_TRUE(outcomes_[1].ok());
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("b"));
}

TEST_F(TransactionsTest, AnEndWithoutAnAnswer_IsToldAsUnknown_AndDecidedBeforeTheNextBegins) {
  Begin();
  SendOk(0, "a");
  End(true);
  AnswerAll();
  const TransactionAsk ask = *wanted_;
  ASSERT_TRUE(EndAtCoordinator(ask).ok());
  producer_.OnTransactionEnded(ask, Unavailable("no answer"));
  Poll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kUnavailable);
  EXPECT_THAT(outcomes_[0].message(), HasSubstr("not known"));
  Begin();
  SendOk(0, "b");
  End(true);
  Poll();
  EXPECT_FALSE(brokers_.has_work(BrokerId(1)));
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 2u) << "each is told once";
  EXPECT_TRUE(outcomes_[1].ok());
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("a", "b"));
}

TEST_F(TransactionsTest, AnAbortWithoutAnAnswer_IsToldAndAskedAgain_BeforeTheIdIsInitialized) {
  Begin();
  SendOk(0, "a");
  Poll();
  End(false);
  Poll();
  producer_.OnTransactionEnded(*wanted_, Unavailable("no answer"));
  Poll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kUnavailable);
  EXPECT_TRUE(Wants(kEnd));
  Coordinate();
  EXPECT_TRUE(Wants(kInitialize));
  EXPECT_EQ(outcomes_.size(), 1u);
}

TEST_F(TransactionsTest, AnEndThatIsRefused_IsAskedAsAnAbort) {
  Begin();
  SendOk(0, "a");
  End(true);
  AnswerAll();
  producer_.OnTransactionEnded(*wanted_, ResourceExhausted("too many partitions"));
  Poll();
  EXPECT_THAT(outcomes_, IsEmpty()) << "it is decided by the abort";
  ASSERT_TRUE(Wants(kEnd));
  EXPECT_FALSE(wanted_->is_commit);
  CoordinateAll();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].code(), Code::kAborted);
  EXPECT_THAT(outcomes_[0].message(), HasSubstr("too many partitions"));
}

TEST_F(TransactionsTest, AnEndThatIsRefused_AfterATryThatDidIt_IsToldAsItIs) {
  Begin();
  SendOk(0, "a");
  End(true);
  AnswerAll();
  ASSERT_TRUE(EndAtCoordinator(*wanted_).ok());
  producer_.OnTransactionEnded(*wanted_, ResourceExhausted("no room"));
  Poll();
  CoordinateAll();
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
  EXPECT_THAT(brokers_.Committed(0), ElementsAre("a"));
}

TEST_F(TransactionsTest, AnEndThatIsRefused_AndItsAbortToo_IsToldAsUnknown) {
  Begin();
  SendOk(0, "a");
  End(true);
  AnswerAll();
  for (int i = 0; i < 2; ++i) {
    producer_.OnTransactionEnded(*wanted_, NotFound("no such id", Reason::kUnknownProducer));
    Poll();
  }
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kUnknownProducer);
  EXPECT_THAT(outcomes_[0].message(), HasSubstr("not known"));
  EXPECT_TRUE(Wants(kInitialize));
}

TEST_F(TransactionsTest, Rule70_AProducerWhoseIdAnotherHas_EndsWithAll_WhereARecordTells) {
  Begin();
  SendOk(0, "a");
  SendOk(1, "b");
  End(true);
  Begin();
  Poll();
  brokers_.InitTransactions();
  Answer(1);
  EXPECT_EQ(reports_.size(), 2u);
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionFenced);
  EXPECT_FALSE(wanted_.has_value()) << "it must not take the id from the other";
  EXPECT_EQ(Send(0, "c").reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer_.EndTransaction(true, now_).reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer_.BeginTransaction().reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer_.unanswered_records(), 0u);
}

TEST_F(TransactionsTest, Rule70_AProducerWhoseIdAnotherHas_EndsWithAll_WhereAnEndTells) {
  Begin();
  SendOk(0, "a");
  End(true);
  AnswerAll();
  brokers_.InitTransactions();
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer_.BeginTransaction().reason(), Reason::kTransactionFenced);
  EXPECT_THAT(brokers_.Committed(0), IsEmpty());
}

// It could not know otherwise that another one has the id, and would take it back.
TEST_F(TransactionsTest, Rule70_OneThatFailed_IsEndedBeforeTheIdIsInitialized_SoThatItIsFenced) {
  Begin();
  SendOk(0, "a");
  Poll();
  Answer(1, InvalidArgument("no such record"));
  brokers_.InitTransactions();
  End(true);
  Poll();
  ASSERT_TRUE(Wants(kEnd));
  Coordinate();
  ASSERT_EQ(outcomes_.size(), 1u);
  EXPECT_EQ(outcomes_[0].reason(), Reason::kTransactionFenced);
  EXPECT_FALSE(wanted_.has_value());
}

TEST_F(TransactionsTest, ABatchThatIsSplit_KeepsItsTransaction) {
  Begin();
  brokers_.SetBatchLimit(2000);
  const std::string value(900, 'v');
  for (int i = 0; i < 4; ++i) SendOk(0, value);
  End(true);
  AnswerAll();
  CoordinateAll();
  EXPECT_GT(brokers_.too_large_seen(), 0u);
  EXPECT_THAT(outcomes_, ElementsAre(Status::Ok()));
  EXPECT_EQ(brokers_.Committed(0).size(), 4u);
}

// Random programs and faults: what is told of each transaction is so, all of it or nothing.
class TransactionRun : public TransactionsTest {
 protected:
  void Run(uint64_t seed) {
    random_ = Random(seed);
    for (int step = 0; step < 400; ++step) Step();
    if (open_ != 0) EndOpen();
    AnswerAll();
    for (int round = 0; round < 100 && (wanted_ || producer_.unanswered_records() > 0); ++round) {
      if (wanted_) Coordinate();
      AnswerAll();
    }
    Check();
  }

 private:
  struct Program {
    bool is_commit = false;
    std::vector<std::pair<uint32_t, std::string>> sent;
  };

  void EndOpen() {
    programs_.back().is_commit = !random_.OneIn(4);
    End(programs_.back().is_commit);
    open_ = 0;
  }
  void Step() {
    const uint64_t what = random_.Below(20);
    const BrokerId broker(static_cast<uint32_t>(random_.Between(1, 2)));
    now_ += std::chrono::milliseconds(random_.Below(40));
    if (what < 4) SendOrBegin();
    if (what == 4 && open_ != 0) EndOpen();
    if (what >= 5 && what < 11 && brokers_.has_work(broker)) {
      brokers_.HandleOne(broker,
                         random_.OneIn(15) ? InvalidArgument("no such record") : Status::Ok());
    }
    if (what >= 9 && what < 15) {
      if (const auto result = brokers_.TakeAnswer(broker)) {
        producer_.OnResult(broker, *result, now_);
      }
    }
    if (what == 15 && random_.OneIn(4)) {
      brokers_.BreakStream(broker);
      producer_.OnStreamClosed(broker, Unavailable("gone"), now_);
    }
    if (what == 16 && random_.OneIn(5)) {
      const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
      brokers_.SetLeader(partition, broker);
      producer_.OnLeader(partition, brokers_.leader(partition));
    }
    if (what == 17 && random_.OneIn(8) && brokers_.open_transaction() != 0) {
      AbortBehindItsBack(brokers_.open_transaction());
    }
    if (what == 18 && random_.OneIn(40)) now_ += 60s;
    Poll();
    if (what >= 15 && wanted_) AnswerWanted();
  }
  void SendOrBegin() {
    if (open_ == 0) {
      Begin();
      programs_.emplace_back();
      open_ = programs_.size();
      return;
    }
    const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
    const std::string value = std::to_string(++values_);
    if (Send(partition, value).ok()) programs_.back().sent.emplace_back(partition, value);
  }
  void AnswerWanted() {
    if (random_.OneIn(3)) return;
    const bool is_end = wanted_->kind == kEnd;
    if (!random_.OneIn(6)) return Coordinate();
    if (random_.OneIn(2)) {  // it is done, and the answer lost
      is_end ? static_cast<void>(EndAtCoordinator(*wanted_))
             : static_cast<void>(brokers_.InitTransactions());
    }
    if (is_end) producer_.OnTransactionEnded(*wanted_, Unavailable("no answer"));
    Poll();
  }
  void Check() {
    ASSERT_EQ(outcomes_.size(), programs_.size());
    std::vector<std::string> expected[kPartitions];
    for (size_t i = 0; i < programs_.size(); ++i) {
      if (programs_[i].sent.empty()) continue;
      bool is_committed = programs_[i].is_commit && outcomes_[i].ok();
      if (outcomes_[i].code() == Code::kUnavailable && programs_[i].is_commit) {
        const auto& [partition, value] = programs_[i].sent.front();
        const auto values = brokers_.Committed(partition);
        is_committed = std::find(values.begin(), values.end(), value) != values.end();
      }
      if (!is_committed) continue;
      for (const auto& [partition, value] : programs_[i].sent) {
        expected[partition].push_back(value);
      }
    }
    for (uint32_t partition = 0; partition < kPartitions; ++partition) {
      EXPECT_EQ(brokers_.Committed(partition), expected[partition]) << partition;
    }
  }

  Random random_{1};
  std::vector<Program> programs_;
  size_t open_ = 0;
  int values_ = 0;
};

class TransactionFaults : public TransactionRun, public ::testing::WithParamInterface<uint64_t> {};

TEST_P(TransactionFaults, AllOfATransactionIsCommitted_OrNothing_AsItsOutcomeSays) {
  SCOPED_TRACE("seed=" + std::to_string(GetParam()));
  Run(GetParam());
}
INSTANTIATE_TEST_SUITE_P(Seeds, TransactionFaults, ::testing::Range<uint64_t>(1, 201));

}  // namespace
}  // namespace millrace::client

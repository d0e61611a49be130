// The public library's transactions against a real broker: what readers get, and what an
// administrator sees and ends. One program with library_checks.cc, which says where the broker is.

#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/client.h"

namespace {

using namespace std::chrono_literals;

#define ASSERT_OK(expression)                            \
  do {                                                   \
    const millrace::Status assert_ok = (expression);     \
    ASSERT_TRUE(assert_ok.ok()) << assert_ok.ToString(); \
  } while (false)

// A topic of two partitions, and a producer whose first transaction is committed and whose second
// is open in both.
class TransactionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto client = millrace::Client::Connect({.bootstrap = std::getenv("MILLRACE_BOOTSTRAP")});
    ASSERT_OK(client.status());
    client_ = std::move(client).value();
    name_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    for (char& c : name_) c = std::isalnum(c) ? c : '-';
    name_ = name_.substr(0, 200);
    ASSERT_OK(client_->admin().CreateTopic({.name = name_, .partition_count = 2}).status());
    auto producer = client_->OpenProducer(name_, {.transactional_id = name_});
    ASSERT_OK(producer.status());
    producer_ = std::move(producer).value();
    ASSERT_OK(producer_->BeginTransaction());
    ASSERT_OK(producer_->Send({.value = "first", .partition = 0}));
    ASSERT_OK(producer_->CommitTransaction(60s));
    ASSERT_OK(producer_->BeginTransaction());
    for (uint32_t partition : {0u, 1u}) {
      ASSERT_OK(producer_->Send({.value = "second", .partition = partition}));
    }
    ASSERT_OK(producer_->Flush(60s));
  }

  millrace::Transactions& transactions() { return client_->transactions(); }
  std::optional<millrace::TransactionDescription> Describe() {
    const auto described = transactions().DescribeTransaction(name_);
    EXPECT_TRUE(described.ok()) << described.status();
    return described.ok() ? std::optional(*described) : std::nullopt;
  }
  // What is read up to the end that this isolation has.
  size_t CountRecords(millrace::Isolation isolation) {
    const auto consumer =
        client_->OpenConsumer(name_, {.isolation = isolation, .stop_at_end = true});
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    size_t count = 0;
    while (!(*consumer)->at_end()) count += (*consumer)->Poll(10s).value().size();
    return count;
  }

  std::unique_ptr<millrace::Client> client_;
  std::unique_ptr<millrace::Producer> producer_;
  std::string name_;
};

TEST_F(TransactionTest, WhatIsOpen_IsReadByThoseWhoAskForAll_AndHoldsBackTheOthers) {
  EXPECT_EQ(CountRecords(millrace::Isolation::kCommitted), 1u);
  EXPECT_EQ(CountRecords(millrace::Isolation::kUncommitted), 3u);
  const auto offsets = transactions().DescribeOffsets(*Describe());
  ASSERT_OK(offsets.status());
  ASSERT_EQ(offsets->size(), 2u);
  EXPECT_EQ((*offsets)[0].partition.topic, name_);
  EXPECT_EQ((*offsets)[0].last_stable, 1);
  EXPECT_EQ((*offsets)[0].end, 2);
  EXPECT_EQ((*offsets)[1].partition.partition, 1u);
  EXPECT_EQ((*offsets)[1].last_stable, 0);
}

TEST_F(TransactionTest, AnAbort_IsOfTheOneThatItNames_AndItsProducerIsTold) {
  const auto listed = transactions().ListTransactions(
      {.prefix = name_, .states = {millrace::TransactionState::kOngoing}});
  ASSERT_OK(listed.status());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().name.number, 2u);
  millrace::TransactionName next = listed->front().name;
  ++next.number;
  EXPECT_EQ(transactions().AbortTransaction(next).code(), millrace::Code::kFailedPrecondition);
  millrace::TransactionName before = listed->front().name;
  --before.number;
  const millrace::Status is_committed = transactions().AbortTransaction(before);
  EXPECT_EQ(is_committed.reason(), millrace::Reason::kTransactionEnded) << is_committed;
  ASSERT_OK(transactions().AbortTransaction(listed->front().name));
  ASSERT_OK(transactions().AbortTransaction(listed->front().name));
  const auto described = Describe();
  EXPECT_FALSE(described->ongoing_name().has_value());
  ASSERT_TRUE(described->last.has_value());
  EXPECT_EQ(described->last->outcome, millrace::TransactionOutcome::kAborted);
  EXPECT_EQ(described->last->reason, "administrator");
  const millrace::Status told = producer_->CommitTransaction(60s);
  EXPECT_EQ(told.reason(), millrace::Reason::kTransactionEnded) << told;
  ASSERT_OK(producer_->BeginTransaction());
  ASSERT_OK(producer_->Send({.value = "third", .partition = 0}));
  ASSERT_OK(producer_->CommitTransaction(60s));
}

TEST_F(TransactionTest, AnIdThatNobodyHas_IsNotFound) {
  EXPECT_EQ(transactions().DescribeTransaction("nobody").status().reason(),
            millrace::Reason::kUnknownTransactionalId);
  const millrace::Status unknown = transactions().AbortTransaction(
      {.transactional_id = "nobody", .producer_id = 1024, .producer_epoch = 1, .number = 1});
  EXPECT_EQ(unknown.reason(), millrace::Reason::kUnknownTransactionalId) << unknown;
  EXPECT_TRUE(transactions().ListTransactions({.prefix = "nobody"}).value().empty());
}

}  // namespace

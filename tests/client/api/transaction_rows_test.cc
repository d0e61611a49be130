// Transactions, and what a program asks of them, between the library's types and the wire's.
#include "client/api/transaction_rows.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::internal {
namespace {

void AddPartition(v1::DescribeTransactionResponse* described, const std::string& topic, uint64_t id,
                  uint32_t partition) {
  v1::TransactionPartition& added = *described->add_partitions();
  added.set_topic(topic);
  added.set_topic_id(id);
  added.set_partition(partition);
}

// Transaction 5 of epoch 3 is open, in t and in a topic that is gone.
v1::DescribeTransactionResponse Ongoing() {
  v1::DescribeTransactionResponse described;
  described.set_state(v1::TRANSACTION_STATE_ONGOING);
  described.set_producer_id(1025);
  described.set_producer_epoch(3);
  described.set_transaction_timeout_ms(60'000);
  described.set_last_number(4);
  described.set_last_result(v1::TRANSACTION_RESULT_ABORT);
  described.set_last_reason("time_limit");
  described.set_ongoing_number(5);
  described.set_ongoing_since_ms(1234);
  AddPartition(&described, "t", 7, 1);
  AddPartition(&described, "", 0, 0);
  AddPartition(&described, "t", 7, 0);
  return described;
}

TEST(TransactionRows, WhatIsOpen_HasTheNameThatAnAbortTakes) {
  const TransactionDescription transaction = DescriptionOf("orders", Ongoing());
  EXPECT_EQ(transaction.state, TransactionState::kOngoing);
  EXPECT_EQ(transaction.time_limit, std::chrono::milliseconds(60'000));
  ASSERT_TRUE(transaction.last.has_value());
  EXPECT_EQ(transaction.last->number, 4u);
  EXPECT_EQ(transaction.last->outcome, TransactionOutcome::kAborted);
  EXPECT_EQ(transaction.last->reason, "time_limit");
  ASSERT_TRUE(transaction.ongoing_name().has_value());
  const v1::AbortTransactionRequest request = RequestOf(*transaction.ongoing_name());
  EXPECT_EQ(request.transactional_id(), "orders");
  EXPECT_EQ(request.producer_id(), 1025u);
  EXPECT_EQ(request.producer_epoch(), 3u);
  EXPECT_EQ(request.transaction_number(), 5u);
}

TEST(TransactionRows, WhereNothingIsOpen_ThereIsNoName_AndNothingEndedInAnEpochThatIsNew) {
  v1::DescribeTransactionResponse described;
  described.set_state(v1::TRANSACTION_STATE_IDLE);
  const TransactionDescription transaction = DescriptionOf("orders", described);
  EXPECT_EQ(transaction.state, TransactionState::kIdle);
  EXPECT_FALSE(transaction.ongoing_name().has_value());
  EXPECT_FALSE(transaction.last.has_value());
}

TEST(TransactionRows, PartitionsAreShown_WithHowFarReadersGet_OrWhyThatIsNotKnown) {
  const TransactionDescription transaction = DescriptionOf("orders", Ongoing());
  const client::PartitionsByTopic partitions = PartitionsOf(transaction);
  ASSERT_EQ(partitions.size(), 1u) << "a topic that is gone cannot be asked for";
  EXPECT_EQ(partitions.at(7), (std::vector<uint32_t>{1, 0}));
  v1::ListOffsetsResponse ranges;
  v1::PartitionOffsets& zero = *ranges.add_partitions();
  zero.set_high_watermark(30);
  zero.set_end_offset(12);
  v1::PartitionOffsets& one = *ranges.add_partitions();
  one.set_partition(1);
  one.mutable_error()->set_code(static_cast<int>(Code::kUnavailable));
  one.mutable_error()->set_message("no leader");
  const std::vector<TransactionOffset> rows = OffsetRowsOf(transaction, {{7, std::move(ranges)}});
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].status.reason(), Reason::kUnknownTopic);
  EXPECT_EQ(rows[1].partition.topic, "t");
  EXPECT_EQ(rows[1].partition.partition, 0u);
  EXPECT_EQ(rows[1].last_stable, 12);
  EXPECT_EQ(rows[1].end, 30);
  EXPECT_EQ(rows[2].status.message(), "no leader");
}

TEST(TransactionRows, ATopicThatCannotBeAsked_IsTheErrorOfItsPartitions) {
  const TransactionDescription transaction = DescriptionOf("orders", Ongoing());
  const std::vector<TransactionOffset> rows =
      OffsetRowsOf(transaction, {{7, Unavailable("nobody answers")}});
  EXPECT_EQ(rows[1].status.message(), "nobody answers");
  EXPECT_EQ(rows[2].status.message(), "nobody answers");
}

TEST(TransactionRows, AreListedById_AndStatesOfLaterVersionsAreUnknown) {
  v1::ListTransactionsResponse listed;
  listed.add_transactions()->set_transactional_id("b");
  listed.mutable_transactions(0)->set_state(static_cast<v1::TransactionState>(9));
  listed.add_transactions()->set_transactional_id("a");
  listed.mutable_transactions(1)->set_state(v1::TRANSACTION_STATE_COMMITTING);
  const std::vector<TransactionListing> rows = ListingsOf(listed);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name.transactional_id, "a");
  EXPECT_EQ(rows[0].state, TransactionState::kCommitting);
  EXPECT_EQ(rows[1].state, TransactionState::kUnknown);
}

TEST(TransactionRows, AStateThatIsNone_CannotBeAskedFor) {
  const auto refused = RequestOf(TransactionQuery{.states = {TransactionState::kUnknown}});
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  const auto request =
      RequestOf(TransactionQuery{.prefix = "o", .states = {TransactionState::kAborting}});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->prefix(), "o");
  EXPECT_EQ(request->states(0), v1::TRANSACTION_STATE_ABORTING);
}

}  // namespace
}  // namespace millrace::internal

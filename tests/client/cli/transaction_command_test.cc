// Transactions, as people and programs see them.

#include <chrono>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/transaction_description.h"

namespace millrace::client::cli {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr int64_t kNow = 1'700'000'000'000;

TransactionListing Listed(const std::string& id, TransactionState state, int64_t since_ms) {
  return {.name = {.transactional_id = id, .producer_id = 1025, .producer_epoch = 3, .number = 7},
          .state = state,
          .since_ms = since_ms};
}

TransactionListings Listed() {
  return {Listed("idle", TransactionState::kIdle, kNow - 900'000),
          Listed("new", TransactionState::kOngoing, kNow - 1'000),
          Listed("old", TransactionState::kOngoing, kNow - 41'000),
          Listed("told", TransactionState::kCommitting, kNow - 2'000)};
}

// Transaction 5 is open, in two partitions of which one has no leader; the one before took too
// long.
TransactionDescription Ongoing() {
  return {.transactional_id = "orders",
          .state = TransactionState::kOngoing,
          .producer_id = 1025,
          .producer_epoch = 3,
          .time_limit = milliseconds(60'000),
          .ongoing = OngoingTransaction{.number = 5, .since_ms = kNow - 41'000},
          .last = EndedTransaction{
              .number = 4, .outcome = TransactionOutcome::kAborted, .reason = "time_limit"}};
}

TransactionOffsets Offsets() {
  const TransactionPartition zero{.topic = "flights", .topic_id = 7, .partition = 0};
  const TransactionPartition one{.topic = "flights", .topic_id = 7, .partition = 1};
  return {{.partition = zero, .last_stable = 12, .end = 30},
          {.partition = one, .status = Unavailable("no leader")},
          {.status = NotFound("its topic is not there")}};
}

TEST(TransactionList, WhatIsOpenForLongest_IsFirst) {
  TransactionListings listed = Listed();
  SortByAge(&listed);
  EXPECT_EQ(ListingsToText(listed, kNow),
            "TRANSACTIONAL ID  STATE       FOR     SINCE                     PRODUCER ID  EPOCH  "
            "NUMBER\n"
            "old               ongoing     41 s    2023-11-14T22:12:39.000Z         1025      3  "
            "     7\n"
            "new               ongoing     1 s     2023-11-14T22:13:19.000Z         1025      3  "
            "     7\n"
            "idle              idle        15 min  2023-11-14T21:58:20.000Z         1025      3  "
            "     7\n"
            "told              committing  2 s     2023-11-14T22:13:18.000Z         1025      3  "
            "     7\n");
}

TEST(TransactionList, CanBeOfWhatIsOpenForLong) {
  const TransactionListings open = OpenLongerThan(milliseconds(30'000), Listed(), kNow);
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].name.transactional_id, "old");
  EXPECT_TRUE(OpenLongerThan(milliseconds(60'000), Listed(), kNow).empty());
}

TEST(TransactionList, ACoordinatorWhoseClockIsAhead_HasNoneOfTheFuture) {
  EXPECT_THAT(ListingsToText({Listed("a", TransactionState::kOngoing, kNow + 5'000)}, kNow),
              HasSubstr("  0 s  "));
}

TEST(TransactionList, AsJson) {
  EXPECT_EQ(ListingsToJson({Listed("a", TransactionState::kOngoing, kNow)}).dump(),
            R"({"transactions":[{"transactional_id":"a","producer_id":1025,"producer_epoch":3,)"
            R"("transaction_number":7,"state":"ongoing","since_ms":1700000000000}]})");
  EXPECT_EQ(ListingsToJson({}).dump(), R"({"transactions":[]})");
}

TEST(TransactionDescription, SaysSinceWhenItIsOpen_AndHowTheLastOneEnded_AndWhy) {
  EXPECT_EQ(DescriptionToText(Ongoing(), kNow),
            "transactional id orders  ongoing  producer id 1025  epoch 3\n"
            "transaction 5 is open since 2023-11-14T22:12:39.000Z, for 41 s; its time limit is "
            "60 s\n"
            "transaction 4 was aborted: it was open for longer than its time limit\n");
  TransactionDescription told = Ongoing();
  told.state = TransactionState::kCommitting;
  told.ongoing.reset();
  told.last = {.number = 5, .outcome = TransactionOutcome::kCommitted, .reason = "asked"};
  told.partitions = {{.topic = "flights", .topic_id = 7}};
  told.has_group_offsets = true;
  EXPECT_EQ(DescriptionToText(told, kNow),
            "transactional id orders  committing  producer id 1025  epoch 3\n"
            "transaction 5 was committed: by its producer\n"
            "offsets of a group take part\n"
            "these partitions have not been told so yet:\n");
}

TEST(TransactionDescription, SaysHowManyRecordsOfAPartitionAreHeldBack_OrWhyThatIsNotKnown) {
  EXPECT_EQ(TransactionOffsetsToText(Offsets()),
            "TOPIC    PARTITION  LAST STABLE  END  HELD BACK\n"
            "flights          0           12   30         18\n"
            "flights          1            -    -          -\n"
            "(gone)           0            -    -          -\n"
            "topic flights, partition 1: UNAVAILABLE: no leader\n"
            "topic (gone), partition 0: NOT_FOUND: its topic is not there\n");
  EXPECT_EQ(TransactionOffsetsToText({}), "");
}

TEST(TransactionDescription, AsJson) {
  EXPECT_EQ(DescriptionToJson(Ongoing(), Offsets()).dump(),
            R"({"transactional_id":"orders","state":"ongoing","producer_id":1025,)"
            R"("producer_epoch":3,"time_limit_ms":60000,)"
            R"("ongoing":{"transaction_number":5,"since_ms":1699999959000},)"
            R"("last":{"transaction_number":4,"outcome":"aborted","reason":"time_limit"},)"
            R"("has_group_offsets":false,)"
            R"("partitions":[{"topic":"flights","topic_id":7,"partition":0,)"
            R"("last_stable_offset":12,"high_watermark":30},)"
            R"({"topic":"flights","topic_id":7,"partition":1,"error":"UNAVAILABLE: no leader"},)"
            R"({"topic":"","topic_id":0,"partition":0,)"
            R"("error":"NOT_FOUND: its topic is not there"}]})");
  const Json idle = DescriptionToJson({.transactional_id = "orders"}, {});
  EXPECT_TRUE(idle["ongoing"].is_null());
  EXPECT_TRUE(idle["last"].is_null());
}

TEST(TransactionName, IsWhole_SoThatNoOtherOneIsMeant) {
  const TransactionName name = *Ongoing().ongoing_name();
  EXPECT_EQ(NameToText(name),
            "transaction 5 of transactional id orders (producer id 1025, epoch 3)");
  EXPECT_EQ(NameToJson(name).dump(),
            R"({"transactional_id":"orders","producer_id":1025,"producer_epoch":3,)"
            R"("transaction_number":5})");
}

}  // namespace
}  // namespace millrace::client::cli

#include "client/api/producer_handle.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/client/api/scripted_broker.h"

namespace millrace::internal {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

std::unique_ptr<ProducerHandle> Open(const ScriptedCluster& cluster,
                                     const ProducerOptions& options = {}) {
  Result<std::unique_ptr<ProducerHandle>> handle =
      ProducerHandle::Open(cluster.runtime(), "t", options);
  EXPECT_TRUE(handle.ok()) << handle.status();
  return std::move(handle).value();
}

// The topic's end is known, but not yet told, when the second record is to be taken.
TEST(ProducerHandle, ReportsComeInOrder_AndNameThePartition_WhenTheLastWereRefused) {
  ScriptedCluster cluster(4);
  const auto producer = Open(cluster);
  std::vector<std::pair<std::string, uint32_t>> told;  // value, partition
  const auto send = [&](const std::string& value) {
    return producer->Send(
        {.key = "AA", .value = value}, false, [&, value](const Delivery& delivery) {
          EXPECT_EQ(delivery.status.reason(), Reason::kTopicDeleted) << delivery.status;
          told.emplace_back(value, delivery.partition);
        });
  };
  ASSERT_TRUE(send("one").ok());
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait([&] {
    ASSERT_TRUE(send("two").ok());
    cluster.AnswerProduced(NotFound("it is gone", Reason::kTopicDeleted));
  });
  ASSERT_TRUE(producer->Flush(10s).ok());
  constexpr uint32_t kPartitionOfKey = 1;
  EXPECT_THAT(told,
              ElementsAre(std::pair("one", kPartitionOfKey), std::pair("two", kPartitionOfKey)));
  EXPECT_EQ(producer->unanswered_records(), 0u);
}

TEST(ProducerHandle, SmallRecords_CountWithWhatKeepsTrackOfThem) {
  ScriptedCluster cluster(1);
  constexpr size_t kMemory = size_t{1} << 20;
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10, .memory_bytes_max = kMemory});
  size_t taken = 0;
  while (producer->Send({}, false, [](const Delivery&) {}).ok()) ++taken;
  EXPECT_GT(taken, 0u);
  EXPECT_LE(taken, kMemory / ProducerHandle::kRecordOverheadBytes);
}

TEST(ProducerHandle, Memory_IsFreeAgain_OnceRecordsAreAnswered) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10, .memory_bytes_max = 2 << 10});
  size_t taken = 0;
  while (producer->Send({.value = "x"}, false, {}).ok()) ++taken;
  EXPECT_GT(taken, 0u);
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait(
      [&] { cluster.AnswerProduced(NotFound("", Reason::kTopicDeleted)); });
  ASSERT_TRUE(producer->Flush(10s).ok());
  EXPECT_EQ(producer->unanswered_records(), 0u);
  for (size_t i = 0; i < taken; ++i) ASSERT_TRUE(producer->Send({.value = "x"}, false, {}).ok());
  ASSERT_TRUE(producer->Flush(10s).ok());
}

TEST(ProducerHandle, SendsToPartitionsThatCame_AndTellsWhatBecameOfIt) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster);
  EXPECT_EQ(producer->Send({.value = "x", .partition = 2}, false, {}).code(), Code::kNotFound);
  cluster.Grow(3);
  EXPECT_EQ(producer->partition_count(), 3U);
  cluster.AnswerAllFromNowOn();
  std::vector<uint32_t> told;
  ASSERT_TRUE(producer
                  ->Send({.value = "x", .partition = 2}, false,
                         [&](const Delivery& delivery) { told.push_back(delivery.partition); })
                  .ok());
  ASSERT_TRUE(producer->Flush(10s).ok());
  EXPECT_THAT(told, ElementsAre(2U));
}

TEST(ProducerHandle, ARecordAtAnExpectedEnd_NeedsAPartition_AndItsReportTellsTheEndThereIs) {
  ScriptedCluster cluster(2);
  const auto producer = Open(cluster);
  const auto refused = [&](const Record& record) {
    const Status status = producer->Send(record, false, {});
    EXPECT_NE(status.message().find("expected_end_offset"), std::string_view::npos) << status;
    return status.code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused({.value = "x", .expected_end_offset = 0}));
  EXPECT_TRUE(refused({.value = "x", .partition = 0, .expected_end_offset = -1}));
  std::vector<Delivery> told;
  ASSERT_TRUE(producer
                  ->Send({.value = "x", .partition = 1, .expected_end_offset = 5}, false,
                         [&](const Delivery& delivery) { told.push_back(delivery); })
                  .ok());
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait([&] {
    cluster.AnswerProduced(
        FailedPrecondition("it is elsewhere", Reason::kOffsetMoved).AddMetadata("end_offset", "9"));
  });
  ASSERT_TRUE(producer->Flush(10s).ok());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].status.reason(), Reason::kOffsetMoved);
  EXPECT_EQ(told[0].end_offset, 9);
  EXPECT_FALSE(told[0].may_be_stored);
}

TEST(ProducerHandle, TimeoutsForEver_Wait) {
  ScriptedCluster cluster(1);
  constexpr auto kForEver = std::chrono::milliseconds::max();
  const auto producer = Open(cluster, {.batch_bytes = 1 << 10,
                                       .memory_bytes_max = 2 << 10,
                                       .send_timeout = kForEver,
                                       .delivery_timeout = kForEver,
                                       .open_timeout = kForEver});
  const auto check = [](const Delivery& delivery) { EXPECT_TRUE(delivery.status.ok()); };
  while (producer->Send({.value = "x"}, false, check).ok()) continue;
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.Later(20ms, [&] { cluster.AnswerProduced({}); });
  EXPECT_TRUE(producer->Send({.value = "x"}, true, check).ok()) << "there is room after a while";
  ASSERT_TRUE(cluster.WaitUntilProduced(2));
  cluster.AnswerAllFromNowOn();
  EXPECT_TRUE(producer->Flush(kForEver).ok());
}

// A guess would split the records of one key over two partitions.
TEST(ProducerHandle, Open_IsRefused_WhereKeysChoosePartitionsInAWayThatIsNotKnown) {
  ScriptedCluster cluster(2);
  cluster.SetPartitioning(7);
  const Status status = ProducerHandle::Open(cluster.runtime(), "t", {}).status();
  EXPECT_EQ(status.code(), Code::kUnimplemented) << status;
  EXPECT_NE(status.message().find("\"t\""), std::string_view::npos) << status;
}

ProducerOptions Transactional() {
  ProducerOptions options;
  options.transactional_id = "orders";
  return options;
}

TEST(ProducerHandle, Transactions_HaveTheRecordsThatWereSentBetweenTheirBeginningAndEnd) {
  ScriptedCluster cluster(2);
  const auto producer = Open(cluster, Transactional());
  std::vector<std::string> told;
  const auto send = [&](const std::string& value) {
    ASSERT_TRUE(producer
                    ->Send({.value = value}, false,
                           [&told, value](const Delivery& delivery) {
                             told.push_back(value + (delivery.status.ok() ? "" : ": failed"));
                           })
                    .ok());
  };
  const auto tell = [&](const std::string& what) {
    return [&told, what](const Status& outcome) {
      told.push_back(what + (outcome.ok() ? "" : ": failed"));
    };
  };
  cluster.AnswerAllFromNowOn();
  // All of it at once: the client's thread sees one queue of records.
  cluster.runtime()->RunAndWait([&] {
    ASSERT_TRUE(producer->BeginTransaction().ok());
    send("a");
    ASSERT_TRUE(producer->EndTransaction(true, tell("first")).ok());
    ASSERT_TRUE(producer->BeginTransaction().ok());
    ASSERT_TRUE(producer->EndTransaction(true, tell("second")).ok());
    ASSERT_TRUE(producer->BeginTransaction().ok());
    send("b");
    send("c");
  });
  EXPECT_TRUE(producer->EndTransaction(true, 10s).ok());
  EXPECT_THAT(told, UnorderedElementsAre("a", "first", "second", "b", "c"));
  EXPECT_LT(std::find(told.begin(), told.end(), "a"), std::find(told.begin(), told.end(), "first"));
  EXPECT_THAT(cluster.RecordsOfTransactions(), ElementsAre(std::pair(1, 1), std::pair(3, 2)));
  EXPECT_THAT(cluster.Ends(), ElementsAre("commit 1", "commit 2", "commit 3"));
}

TEST(ProducerHandle, Transactions_ThatAreMisused_AreRefusedAtOnce) {
  ScriptedCluster cluster(1);
  const auto plain = Open(cluster);
  EXPECT_EQ(plain->BeginTransaction().code(), Code::kFailedPrecondition);
  EXPECT_EQ(plain->EndTransaction(true, 1s).code(), Code::kFailedPrecondition);
  EXPECT_EQ(plain->EndTransaction(false, TransactionCallback()).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(plain->Send({.value = "x"}, false, {}).ok());

  const auto producer = Open(cluster, Transactional());
  EXPECT_EQ(producer->Send({.value = "x"}, false, {}).code(), Code::kFailedPrecondition);
  EXPECT_EQ(producer->EndTransaction(true, 1s).code(), Code::kFailedPrecondition);
  ASSERT_TRUE(producer->BeginTransaction().ok());
  EXPECT_EQ(producer->BeginTransaction().code(), Code::kFailedPrecondition);
  cluster.runtime()->RunAndWait([&] {
    EXPECT_EQ(producer->EndTransaction(true, 1s).code(), Code::kFailedPrecondition)
        << "it would wait for itself";
  });
  EXPECT_TRUE(producer->EndTransaction(false, 10s).ok());
  for (const auto limit : {999ms, 900'001ms}) {
    ProducerOptions options = Transactional();
    options.transaction_timeout = limit;
    EXPECT_EQ(ProducerHandle::Open(cluster.runtime(), "t", options).status().code(),
              Code::kInvalidArgument);
  }
}

TEST(ProducerHandle, Transactions_OfWhichARecordFails_CannotBeCommitted) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster, Transactional());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  ASSERT_TRUE(producer->Send({.value = "a"}, false, {}).ok());
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.runtime()->RunAndWait([&] { cluster.AnswerProduced(InvalidArgument("bad record")); });
  bool is_told = false;
  ASSERT_TRUE(producer
                  ->Send({.value = "b"}, false,
                         [&](const Delivery& delivery) {
                           is_told = delivery.status.code() == Code::kAborted;
                         })
                  .ok());
  const Status outcome = producer->EndTransaction(true, 10s);
  EXPECT_EQ(outcome.code(), Code::kAborted);
  EXPECT_NE(outcome.message().find("bad record"), std::string_view::npos) << outcome;
  EXPECT_TRUE(is_told) << "deliveries come before the outcome";
  cluster.AnswerAllFromNowOn();
  ASSERT_TRUE(producer->BeginTransaction().ok());
  ASSERT_TRUE(producer->Send({.value = "c"}, false, {}).ok());
  EXPECT_TRUE(producer->EndTransaction(true, 10s).ok());
  EXPECT_THAT(cluster.Ends(), ElementsAre("abort 1", "commit 1"));
}

TEST(ProducerHandle, Transactions_OfWhoIsFenced_FailForGood) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster, Transactional());
  cluster.AnswerEnds(Aborted("another has it", Reason::kTransactionFenced));
  ASSERT_TRUE(producer->BeginTransaction().ok());
  EXPECT_EQ(producer->EndTransaction(true, 10s).reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer->BeginTransaction().reason(), Reason::kTransactionFenced);
  EXPECT_EQ(producer->Send({.value = "a"}, false, {}).reason(), Reason::kTransactionFenced);
}

TEST(ProducerHandle, Transactions_ThatHaveNotEnded_AreToldSo_WhenTheProducerIsDestroyed) {
  ScriptedCluster cluster(1);
  auto producer = Open(cluster, Transactional());
  Status told;
  ASSERT_TRUE(producer->BeginTransaction().ok());
  ASSERT_TRUE(producer->Send({.value = "a"}, false, {}).ok());
  ASSERT_TRUE(producer->EndTransaction(true, [&](const Status& outcome) { told = outcome; }).ok());
  producer.reset();
  EXPECT_EQ(told.code(), Code::kCancelled) << told;
}

TEST(ProducerHandle, Transactions_ThatHaveNotEnded_AreBounded_UntilTheyHave) {
  ScriptedCluster cluster(1);
  const auto producer = Open(cluster, Transactional());
  ASSERT_TRUE(producer->BeginTransaction().ok());
  ASSERT_TRUE(producer->Send({.value = "a"}, false, {}).ok());
  size_t begun = 0;
  do {
    ++begun;
    ASSERT_TRUE(producer->EndTransaction(true, TransactionCallback()).ok());
  } while (producer->BeginTransaction().ok());
  EXPECT_EQ(begun, OpenTransaction::kUnendedMax);
  EXPECT_EQ(producer->BeginTransaction().code(), Code::kResourceExhausted);
  ASSERT_TRUE(cluster.WaitUntilProduced(1));
  cluster.AnswerAllFromNowOn();
  cluster.runtime()->RunAndWait([&] { cluster.AnswerProduced({}); });
  Status last;
  do {
    cluster.Settle();
    last = producer->BeginTransaction();
  } while (last.code() == Code::kResourceExhausted);
  EXPECT_TRUE(last.ok()) << last;
}

TEST(ProducerHandle, Open_TakesItsTimeoutOnce) {
  ScriptedCluster cluster(1);
  cluster.DelayAnswers(50ms);
  Open(cluster, {.open_timeout = 1s});
  EXPECT_LE(cluster.TimeoutOf("/InitProducer"), 950ms);
}

}  // namespace
}  // namespace millrace::internal

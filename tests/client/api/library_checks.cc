// The public library against a real broker, which tests/clients/test_library.py starts: its address
// is MILLRACE_BOOTSTRAP, its process MILLRACE_SERVER_PID, which some tests stop and let go on.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include "millrace/client.h"

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

#define ASSERT_OK(expression)                            \
  do {                                                   \
    const millrace::Status assert_ok = (expression);     \
    ASSERT_TRUE(assert_ok.ok()) << assert_ok.ToString(); \
  } while (false)

// A broker whose process stands still for as long as this lives.
class StoppedBroker {
 public:
  StoppedBroker() : process_(std::atoi(std::getenv("MILLRACE_SERVER_PID"))) {
    EXPECT_GT(process_, 1);
    kill(process_, SIGSTOP);
  }
  ~StoppedBroker() { kill(process_, SIGCONT); }

 private:
  const pid_t process_;
};

class LibraryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto client = millrace::Client::Connect({.bootstrap = std::getenv("MILLRACE_BOOTSTRAP")});
    ASSERT_OK(client.status());
    client_ = std::move(client).value();
    topic_ = ::testing::UnitTest::GetInstance()->current_test_info()->name();
    for (char& c : topic_) c = std::isalnum(c) ? c : '-';
    topic_ = topic_.substr(0, 200);
    ASSERT_OK(client_->admin().CreateTopic({.name = topic_, .partition_count = 3}).status());
  }

  std::unique_ptr<millrace::Producer> OpenProducer(const millrace::ProducerOptions& options = {}) {
    auto producer = client_->OpenProducer(topic_, options);
    EXPECT_TRUE(producer.ok()) << producer.status();
    return std::move(producer).value();
  }
  std::unique_ptr<millrace::Consumer> OpenConsumer(const millrace::ConsumerOptions& options) {
    auto consumer = client_->OpenConsumer(topic_, options);
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    return std::move(consumer).value();
  }
  // "0", "1", ... into partition 0, at offsets of the same number.
  void Fill(int count, int64_t timestamp_ms = 0) {
    auto producer = OpenProducer();
    for (int i = 0; i < count; ++i) {
      const std::string value = std::to_string(i);
      const int64_t at = timestamp_ms == 0 ? 0 : timestamp_ms + i;
      ASSERT_OK(producer->Send({.value = value, .timestamp_ms = at, .partition = 0}));
    }
    ASSERT_OK(producer->Flush(20s));
  }
  // The values of the next records, at least one; none if none comes.
  std::vector<std::string> PollValues(millrace::Consumer& consumer,
                                      std::chrono::milliseconds timeout = 10s) {
    const auto records = consumer.Poll(timeout);
    EXPECT_TRUE(records.ok()) << records.status();
    std::vector<std::string> values;
    if (!records.ok()) return values;
    for (const millrace::ConsumedRecord& record : *records) values.emplace_back(*record.value);
    return values;
  }

  std::unique_ptr<millrace::Client> client_;
  std::string topic_;
};

class CompressedTest : public LibraryTest,
                       public ::testing::WithParamInterface<millrace::Compression> {};

TEST_P(CompressedTest, EveryRecordIsReportedOnce_AndReadOnceInOrder_WhicheverThreadSentIt) {
  constexpr int kThreads = 4;
  constexpr int kRecords = 3000;
  auto producer = OpenProducer(
      {.compression = GetParam(), .batch_bytes = 16 << 10, .memory_bytes_max = 64 << 10});
  std::vector<std::atomic<int>> reports(kThreads * kRecords);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRecords; ++i) {
        const std::string value = std::to_string(t) + " " + std::to_string(i) + " some more text";
        const millrace::Status sent = producer->Send(
            {.value = value}, [&reports, n = t * kRecords + i](const millrace::Delivery& delivery) {
              EXPECT_TRUE(delivery.status.ok()) << delivery.status;
              EXPECT_GE(delivery.offset, 0);
              ++reports[n];
            });
        EXPECT_TRUE(sent.ok()) << sent;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_OK(producer->Flush(60s));
  for (const std::atomic<int>& count : reports) ASSERT_EQ(count, 1);
  EXPECT_EQ(producer->unanswered_records(), 0u);

  auto consumer = OpenConsumer({.stop_at_end = true});
  std::map<std::pair<uint32_t, int>, int> last;  // by partition and thread
  int read = 0;
  while (!consumer->at_end()) {
    const auto records = consumer->Poll(10s);
    ASSERT_OK(records.status());
    for (const millrace::ConsumedRecord& record : *records) {
      int thread = -1;
      int number = -1;
      ASSERT_EQ(std::sscanf(std::string(*record.value).c_str(), "%d %d", &thread, &number), 2);
      const auto [before, is_first] = last.try_emplace({record.partition, thread}, -1);
      ASSERT_LT(before->second, number) << "out of order in partition " << record.partition;
      before->second = number;
      ++read;
    }
  }
  EXPECT_EQ(read, kThreads * kRecords);
}

INSTANTIATE_TEST_SUITE_P(All, CompressedTest,
                         ::testing::Values(millrace::Compression::kNone,
                                           millrace::Compression::kGzip,
                                           millrace::Compression::kSnappy,
                                           millrace::Compression::kLz4,
                                           millrace::Compression::kZstd));

TEST_F(LibraryTest, KeysHeadersAndNulls_ComeBackAsTheyWere) {
  auto producer = OpenProducer({.compression = millrace::Compression::kZstd});
  const std::array<millrace::Header, 3> headers = {
      {{.key = "a", .value = "1"}, {.key = "a", .value = ""}, {.key = "b", .value = {}}}};
  ASSERT_OK(producer->Send({.key = "", .headers = headers, .timestamp_ms = 1234, .partition = 0}));
  ASSERT_OK(producer->Send({.value = "", .partition = 0}));
  ASSERT_OK(producer->Flush(20s));
  auto consumer = OpenConsumer({.partitions = {{0}}, .stop_at_end = true});
  std::vector<millrace::Records> polled;
  std::vector<millrace::ConsumedRecord> records;
  while (!consumer->at_end()) {
    auto some = consumer->Poll(10s);
    ASSERT_OK(some.status());
    polled.push_back(std::move(some).value());
    records.insert(records.end(), polled.back().begin(), polled.back().end());
  }
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].key, "");
  EXPECT_FALSE(records[0].value.has_value());
  EXPECT_EQ(records[0].timestamp_ms, 1234);
  ASSERT_EQ(records[0].headers.size(), 3u);
  EXPECT_EQ(records[0].headers[0].value, "1");
  EXPECT_EQ(records[0].headers[1].value, "");
  EXPECT_FALSE(records[0].headers[2].value.has_value());
  EXPECT_FALSE(records[1].key.has_value());
  EXPECT_EQ(records[1].value, "");
  EXPECT_EQ(records[1].timestamp_ms, records[1].append_time_ms);
}

TEST_F(LibraryTest, Memory_IsBounded_AndAFlushHasADeadline_WhileTheBrokerStandsStill) {
  auto producer =
      OpenProducer({.batch_bytes = 1 << 10, .memory_bytes_max = 4 << 10, .send_timeout = 200ms});
  const std::string value(500, 'x');
  std::atomic<int> delivered = 0;
  const auto count = [&](const millrace::Delivery& delivery) {
    EXPECT_TRUE(delivery.status.ok()) << delivery.status;
    ++delivered;
  };
  int taken = 0;
  {
    const StoppedBroker stopped;
    while (taken < 100 && producer->TrySend({.value = value}, count).ok()) ++taken;
    EXPECT_EQ(taken, 6) << "4 KiB of 507 bytes and 128 each";
    EXPECT_EQ(producer->Send({.value = value}, count).code(), millrace::Code::kResourceExhausted);
    EXPECT_EQ(producer->unanswered_records(), 6u);
    EXPECT_EQ(producer->Flush(100ms).code(), millrace::Code::kDeadlineExceeded);
    EXPECT_EQ(delivered, 0);
  }
  ASSERT_OK(producer->Flush(60s));
  EXPECT_EQ(delivered, taken);
  ASSERT_OK(producer->TrySend({.value = value}, count));
  ASSERT_OK(producer->Flush(60s));
}

TEST_F(LibraryTest, Send_WaitsForRoom) {
  auto producer =
      OpenProducer({.batch_bytes = 1 << 10, .memory_bytes_max = 2 << 10, .send_timeout = 60s});
  const std::string value(500, 'x');
  for (int i = 0; i < 500; ++i) ASSERT_OK(producer->Send({.value = value}));
  ASSERT_OK(producer->Flush(60s));
}

TEST_F(LibraryTest, DestroyedProducer_ReportsWhatIsUnanswered_AndOutlivesItsClient) {
  auto producer = OpenProducer();
  const StoppedBroker stopped;
  int cancelled = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_OK(producer->Send({.value = "x"}, [&](const millrace::Delivery& delivery) {
      cancelled += delivery.status.code() == millrace::Code::kCancelled ? 1 : 0;
    }));
  }
  client_.reset();
  producer.reset();
  EXPECT_EQ(cancelled, 10);
}

TEST_F(LibraryTest, ACallThatWaits_FailsInACallback) {
  auto producer = OpenProducer();
  std::promise<std::vector<millrace::Status>> told;
  ASSERT_OK(producer->Send({.value = "x"}, [&](const millrace::Delivery&) {
    told.set_value({producer->Flush(1s), client_->admin().ListTopics().status(),
                    client_->OpenConsumer(topic_).status(),
                    producer->Send({.value = "from a callback"})});
  }));
  const std::vector<millrace::Status> statuses = told.get_future().get();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(statuses[i].code(), millrace::Code::kFailedPrecondition) << i;
  }
  EXPECT_TRUE(statuses[3].ok()) << statuses[3];
  ASSERT_OK(producer->Flush(20s));
}

TEST_F(LibraryTest, WhatATopicTakes_IsTheTopicsToSay_BelowAndAboveTheDefault) {
  for (const char* limit : {"2KiB", "4032KiB"}) {
    const std::string name = topic_ + limit;
    ASSERT_OK(
        client_->admin()
            .CreateTopic(
                {.name = name, .partition_count = 1, .settings = {{"batch_bytes_max", limit}}})
            .status());
    auto producer = client_->OpenProducer(name);
    ASSERT_OK(producer.status());
    const std::string value(std::string_view(limit) == "2KiB" ? 1000 : 4'000'000, 'x');
    int stored = 0;
    for (int i = 0; i < 20; ++i) {
      ASSERT_OK((*producer)->Send({.value = value}, [&](const millrace::Delivery& delivery) {
        EXPECT_TRUE(delivery.status.ok()) << delivery.status;
        ++stored;
      }));
    }
    ASSERT_OK((*producer)->Flush(60s));
    EXPECT_EQ(stored, 20);
  }
}

TEST_F(LibraryTest, ASettingIsChanged_WhileTheTopicIsUsed) {
  millrace::Admin& admin = client_->admin();
  auto producer = OpenProducer();
  const auto settings = admin.ListTopicSettings();
  ASSERT_OK(settings.status());
  const auto known =
      std::ranges::find(*settings, "batch_bytes_max", &millrace::TopicSettingDescription::key);
  ASSERT_NE(known, settings->end());
  EXPECT_EQ(known->kafka_name, "max.message.bytes");
  const millrace::TopicChange smaller{.set = {{"batch_bytes_max", "2KiB"}}};
  const auto tried =
      admin.AlterTopic(topic_, {.set = smaller.set, .unset = {}, .is_dry_run = true});
  ASSERT_OK(tried.status());
  EXPECT_EQ(tried->changed, std::vector<std::string>{"batch_bytes_max"});
  EXPECT_TRUE(admin.DescribeTopic(topic_)->settings.empty());
  ASSERT_OK(admin.AlterTopic(topic_, smaller).status());
  EXPECT_EQ(admin.DescribeTopic(topic_)->settings, smaller.set);
  // What was open before learns of it.
  std::promise<millrace::Status> told;
  ASSERT_OK(
      producer->Send({.value = std::string(10'000, 'x')},
                     [&](const millrace::Delivery& delivery) { told.set_value(delivery.status); }));
  EXPECT_EQ(told.get_future().get().reason(), millrace::Reason::kBatchTooLarge);
  ASSERT_OK(admin.AlterTopic(topic_, {.unset = {"batch_bytes_max"}}).status());
  ASSERT_OK(producer->Send({.value = "x"}));
  ASSERT_OK(producer->Flush(20s));
  EXPECT_EQ(admin.AlterTopic(topic_, {.set = {{"no_such", "1"}}}).status().code(),
            millrace::Code::kInvalidArgument);
}

// Producer and consumer that are open learn of it within metadata_age_max.
TEST_F(LibraryTest, ATopicGetsPartitions_WhileItIsUsed) {
  auto client = millrace::Client::Connect(
      {.bootstrap = std::getenv("MILLRACE_BOOTSTRAP"), .metadata_age_max = 100ms});
  ASSERT_OK(client.status());
  millrace::Admin& admin = (*client)->admin();
  auto producer = (*client)->OpenProducer(topic_);
  auto consumer = (*client)->OpenConsumer(topic_, {.start = millrace::Position::Latest()});
  ASSERT_OK(producer.status());
  ASSERT_OK(consumer.status());
  const auto before = static_cast<uint32_t>(admin.DescribeTopic(topic_)->partitions.size());
  const auto tried = admin.AlterTopic(topic_, {.is_dry_run = true, .partition_count = before + 2});
  ASSERT_OK(tried.status());
  EXPECT_EQ(tried->partitions_added, 2u);
  EXPECT_EQ(tried->topic.partitions.size(), before + 2);
  EXPECT_EQ(admin.DescribeTopic(topic_)->partitions.size(), before);
  const auto grown = admin.AlterTopic(topic_, {.partition_count = before + 1});
  ASSERT_OK(grown.status());
  EXPECT_EQ(grown->partitions_added, 1u);
  EXPECT_NE(grown->topic.partitions.back().leader_id, 0u);
  EXPECT_EQ(admin.AlterTopic(topic_, {.partition_count = before + 1}).status().code(),
            millrace::Code::kInvalidArgument);
  millrace::Status sent;
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  do {
    sent = (*producer)->Send({.value = "x", .partition = before});
  } while (!sent.ok() && std::chrono::steady_clock::now() < deadline);
  ASSERT_OK(sent);
  ASSERT_OK((*producer)->Flush(20s));
  EXPECT_EQ((*producer)->partition_count(), before + 1);
  const auto records = (*consumer)->Poll(20s);
  ASSERT_OK(records.status());
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ((*records)[0].partition, before);
  EXPECT_EQ((*records)[0].offset, 0);
}

TEST_F(LibraryTest, AProtectedTopic_IsNotDeleted) {
  millrace::Admin& admin = client_->admin();
  ASSERT_OK(admin.AlterTopic(topic_, {.set = {{"protected", "true"}}}).status());
  EXPECT_EQ(admin.DeleteTopic(topic_).status().code(), millrace::Code::kFailedPrecondition);
  ASSERT_OK(admin.AlterTopic(topic_, {.unset = {"protected"}}).status());
  ASSERT_OK(admin.DeleteTopic(topic_).status());
}

TEST_F(LibraryTest, Send_RefusesWhatNoBrokerWouldTake) {
  auto producer = OpenProducer({.batch_bytes = 1 << 10});
  const std::string large(1 << 20, 'x');
  EXPECT_EQ(producer->Send({.value = large}).reason(), millrace::Reason::kBatchTooLarge);
  EXPECT_EQ(producer->Send({.value = "x", .partition = 3}).reason(),
            millrace::Reason::kUnknownPartition);
  EXPECT_EQ(producer->Send({.value = "x", .timestamp_ms = -1}).code(),
            millrace::Code::kInvalidArgument);
  EXPECT_EQ(producer->unanswered_records(), 0u);
}

TEST_F(LibraryTest, RefusedByTheBroker_FailsThoseRecordsAlone) {
  auto producer = OpenProducer();
  std::promise<millrace::Status> refused;
  const int64_t far_future_ms = 4'000'000'000'000;
  ASSERT_OK(producer->Send(
      {.value = "x", .timestamp_ms = far_future_ms, .partition = 0},
      [&](const millrace::Delivery& delivery) { refused.set_value(delivery.status); }));
  EXPECT_EQ(refused.get_future().get().code(), millrace::Code::kInvalidArgument);
  std::promise<millrace::Delivery> stored;
  ASSERT_OK(producer->Send({.value = "y", .partition = 0}, [&](const millrace::Delivery& delivery) {
    stored.set_value(delivery);
  }));
  const millrace::Delivery delivery = stored.get_future().get();
  EXPECT_TRUE(delivery.status.ok()) << delivery.status;
  EXPECT_EQ(delivery.offset, 0);
}

// Two that contend, as two processes would: each counts on from where it saw the log end.
TEST_F(LibraryTest, OfThoseThatAppendWhereTheLogEnded_OneWinsEachOffset) {
  constexpr int kCount = 50;
  std::array<std::vector<int64_t>, 2> won;
  std::vector<std::thread> threads;
  for (size_t i = 0; i < won.size(); ++i) {
    threads.emplace_back([&, i] {
      auto producer = OpenProducer();
      for (int64_t end = 0; end < kCount;) {
        const std::string value = std::to_string(end);
        std::promise<millrace::Delivery> told;
        const millrace::Status sent = producer->Send(
            {.value = value, .partition = 0, .expected_end_offset = end},
            [&told](const millrace::Delivery& delivery) { told.set_value(delivery); });
        ASSERT_OK(sent);
        const millrace::Delivery delivery = told.get_future().get();
        if (delivery.status.ok()) {
          EXPECT_EQ(delivery.offset, end);
          won[i].push_back(end++);
          continue;
        }
        ASSERT_EQ(delivery.status.reason(), millrace::Reason::kOffsetMoved) << delivery.status;
        ASSERT_TRUE(delivery.end_offset.has_value());
        EXPECT_GT(*delivery.end_offset, end);
        end = *delivery.end_offset;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<int64_t> all = won[0];
  all.insert(all.end(), won[1].begin(), won[1].end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), static_cast<size_t>(kCount));
  for (int64_t i = 0; i < kCount; ++i) EXPECT_EQ(all[static_cast<size_t>(i)], i);
}

// Without waiting: each names the offset after the one before.
TEST_F(LibraryTest, RecordsThatRestOnEachOther_AreStoredInARow) {
  auto producer = OpenProducer();
  std::vector<millrace::Delivery> told;
  for (int64_t end = 0; end < 20; ++end) {
    ASSERT_OK(
        producer->Send({.value = "v", .partition = 0, .expected_end_offset = end},
                       [&told](const millrace::Delivery& delivery) { told.push_back(delivery); }));
  }
  ASSERT_OK(producer->Flush(20s));
  ASSERT_EQ(told.size(), 20u);
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].offset, static_cast<int64_t>(i)) << told[i].status;
  }
}

TEST_F(LibraryTest, ARecordWithoutAKey_IsRefusedAtOnce_WhereKeysAreCompacted) {
  ASSERT_OK(client_->admin().AlterTopic(topic_, {.set = {{"cleanup", "compact"}}}).status());
  auto producer = OpenProducer();
  std::promise<millrace::Status> told;
  ASSERT_OK(producer->Send({.value = "x"}, [&](const millrace::Delivery& delivery) {
    told.set_value(delivery.status);
  }));
  const millrace::Status refused = told.get_future().get();
  EXPECT_EQ(refused.code(), millrace::Code::kInvalidArgument);
  EXPECT_THAT(refused.ToString(), ::testing::HasSubstr("record 0 has no key"));
  ASSERT_OK(producer->Send({.key = "AA", .value = "x"}));
  ASSERT_OK(producer->Flush(20s));
}

TEST_F(LibraryTest, Seek_GoesToOffsetsTimesAndEnds) {
  Fill(100, 1'000'000);
  auto consumer = OpenConsumer({.partitions = {{0}}, .start = millrace::Position::At(90)});
  EXPECT_EQ(consumer->position(0), 90);
  EXPECT_EQ(PollValues(*consumer).front(), "90");
  EXPECT_GT(*consumer->position(0), 90);
  ASSERT_OK(consumer->Seek(0, millrace::Position::Time(1'000'037)));
  EXPECT_EQ(PollValues(*consumer).front(), "37");
  ASSERT_OK(consumer->Seek(0, millrace::Position::Earliest()));
  EXPECT_EQ(PollValues(*consumer).front(), "0");
  ASSERT_OK(consumer->Seek(0, millrace::Position::Latest()));
  EXPECT_TRUE(PollValues(*consumer, 300ms).empty());
  EXPECT_EQ(consumer->Seek(1, millrace::Position::Earliest()).code(), millrace::Code::kNotFound);
}

TEST_F(LibraryTest, Pause_HoldsAPartitionBack_AndResumeGoesOnWhereItWas) {
  Fill(10);
  auto consumer = OpenConsumer({});
  ASSERT_OK(consumer->Pause(0));
  EXPECT_TRUE(PollValues(*consumer, 300ms).empty());
  ASSERT_OK(consumer->Resume(0));
  size_t read = 0;
  while (read < 10) {
    for (const std::string& value : PollValues(*consumer)) ASSERT_EQ(value, std::to_string(read++));
  }
  ASSERT_OK(consumer->Pause(0));
  Fill(3);
  EXPECT_TRUE(PollValues(*consumer, 300ms).empty());
  ASSERT_OK(consumer->Resume(0));
  EXPECT_EQ(PollValues(*consumer).front(), "0");
  EXPECT_GT(*consumer->position(0), 10);
}

TEST_F(LibraryTest, Poll_TellsOnePartitionsError_AndSeekReadsItAgain) {
  Fill(5);
  auto consumer = OpenConsumer({.partitions = {{0}}, .start = millrace::Position::At(1000)});
  const auto failed = consumer->Poll(10s);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.status().reason(), millrace::Reason::kOffsetOutOfRange);
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("partition 0"));
  EXPECT_THAT(failed.status().metadata(), ::testing::Contains(::testing::Pair("partition", "0")));
  EXPECT_THAT(failed.status().metadata(), ::testing::Contains(::testing::Pair("topic", topic_)));
  ASSERT_OK(consumer->Seek(0, millrace::Position::At(3)));
  EXPECT_EQ(PollValues(*consumer).front(), "3");
}

TEST_F(LibraryTest, BelowTheLogStart_AConsumerDoes_WhatItsOptionSays) {
  Fill(5);
  ASSERT_OK(client_->admin().DeleteRecords(topic_, {{0, 3}}).status());
  const auto open = [this](millrace::OffsetReset reset) {
    return OpenConsumer(
        {.partitions = {{0}}, .start = millrace::Position::At(1), .auto_offset_reset = reset});
  };
  EXPECT_EQ(open(millrace::OffsetReset::kFail)->Poll(10s).status().reason(),
            millrace::Reason::kOffsetOutOfRange);
  const auto earliest = open(millrace::OffsetReset::kEarliest);
  EXPECT_EQ(PollValues(*earliest).front(), "3");
  EXPECT_EQ(earliest->position(0), 5);
  const auto latest = open(millrace::OffsetReset::kLatest);
  EXPECT_TRUE(PollValues(*latest, 300ms).empty());
  EXPECT_EQ(latest->position(0), std::nullopt);
}

TEST_F(LibraryTest, StopAtEnd_OfAnEmptyTopic_IsAtTheEnd) {
  auto consumer = OpenConsumer({.stop_at_end = true});
  while (!consumer->at_end()) ASSERT_TRUE(PollValues(*consumer).empty());
}

TEST_F(LibraryTest, Prefetch_SmallerThanTheTopic_ReadsAllOfIt) {
  auto producer = OpenProducer();
  const std::string value(1000, 'x');
  for (int i = 0; i < 3000; ++i) ASSERT_OK(producer->Send({.value = value}));
  ASSERT_OK(producer->Flush(60s));
  auto consumer = OpenConsumer({.stop_at_end = true, .prefetch_bytes = 64 << 10});
  size_t read = 0;
  while (!consumer->at_end()) read += PollValues(*consumer).size();
  EXPECT_EQ(read, 3000u);
}

TEST_F(LibraryTest, BatchesThatInflateTo4MiB_AreRead_WithAPrefetchOf1MiB) {
  const std::string name = topic_ + "large";
  ASSERT_OK(
      client_->admin()
          .CreateTopic(
              {.name = name, .partition_count = 1, .settings = {{"batch_bytes_max", "4032KiB"}}})
          .status());
  auto producer = client_->OpenProducer(
      name, {.compression = millrace::Compression::kZstd, .batch_bytes = 4 << 20, .linger = 1s});
  ASSERT_OK(producer.status());
  const std::string value(4000, 'x');
  for (int i = 0; i < 3000; ++i) ASSERT_OK((*producer)->Send({.value = value}));
  ASSERT_OK((*producer)->Flush(60s));
  auto consumer = client_->OpenConsumer(name, {.stop_at_end = true, .prefetch_bytes = 1 << 20});
  ASSERT_OK(consumer.status());
  int64_t next = 0;
  while (!(*consumer)->at_end()) {
    const auto records = (*consumer)->Poll(20s);
    ASSERT_OK(records.status());
    for (const millrace::ConsumedRecord& record : *records) {
      ASSERT_EQ(record.offset, next++);
      ASSERT_EQ(record.value, value);
    }
  }
  EXPECT_EQ(next, 3000);
}

TEST_F(LibraryTest, Assign_AddsAPartitionOnce) {
  auto consumer = OpenConsumer({.partitions = std::vector<uint32_t>()});
  ASSERT_OK(consumer->Assign(0, millrace::Position::Earliest()));
  EXPECT_EQ(consumer->Assign(0, millrace::Position::Earliest()).code(),
            millrace::Code::kAlreadyExists);
  EXPECT_EQ(consumer->Assign(3, millrace::Position::Earliest()).code(), millrace::Code::kNotFound);
}

TEST_F(LibraryTest, ATimeoutForEver_IsOneThatDoesNotEnd) {
  constexpr auto kForEver = std::chrono::milliseconds::max();
  ASSERT_OK(millrace::Client::Connect(
                {.bootstrap = std::getenv("MILLRACE_BOOTSTRAP"), .connect_timeout = kForEver})
                .status());
  ASSERT_OK(client_->admin()
                .CreateTopic({.name = topic_ + "2", .partition_count = 1}, kForEver)
                .status());
  ASSERT_OK(client_->admin().ListOffsets(topic_ + "2", {}, kForEver).status());
  ASSERT_OK(client_->admin().DeleteTopic(topic_ + "2", kForEver).status());
  ASSERT_OK(client_->admin().ListTopics(kForEver).status());
  ASSERT_OK(client_->admin().DescribeTopic(topic_, kForEver).status());
  ASSERT_OK(client_->admin().DescribeCluster(kForEver).status());
}

// The offset of each partition that has one.
std::map<uint32_t, int64_t> OffsetsOf(const std::vector<millrace::CommittedOffset>& rows) {
  std::map<uint32_t, int64_t> offsets;
  for (const millrace::CommittedOffset& row : rows) {
    if (row.offset.has_value()) offsets[row.partition] = *row.offset;
  }
  return offsets;
}

TEST_F(LibraryTest, AGroupsOffsets_AreKept_AndWhatIsRefusedIsNamed) {
  Fill(10);
  millrace::Groups& groups = client_->groups();
  const auto refused = groups.CommitOffsets(
      topic_, {{.topic = topic_, .partition = 0, .offset = 4, .metadata = "by hand"},
               {.topic = topic_, .partition = 1, .offset = 5},
               {.topic = "no-such-topic", .partition = 0, .offset = 0}});
  ASSERT_OK(refused.status());
  ASSERT_EQ(refused->size(), 2u);
  for (const millrace::RefusedOffset& row : *refused) {
    const bool is_past_end = row.topic == topic_;
    EXPECT_EQ(row.status.reason(),
              is_past_end ? millrace::Reason::kOffsetOutOfRange : millrace::Reason::kUnknownTopic)
        << row.status;
  }
  const auto fetched = groups.FetchOffsets(topic_);
  ASSERT_OK(fetched.status());
  EXPECT_EQ(OffsetsOf(*fetched), (std::map<uint32_t, int64_t>{{0, 4}}));
  EXPECT_EQ(fetched->front().metadata, "by hand");
  const auto named = groups.FetchOffsets(topic_, {{topic_, {2, 0}}});
  ASSERT_OK(named.status());
  ASSERT_EQ(named->size(), 2u) << "one that is named has a row";
  EXPECT_FALSE((*named)[1].offset.has_value());
  EXPECT_TRUE(groups.FetchOffsets("no-such-group")->empty()) << "none is an answer";
}

TEST_F(LibraryTest, AGroup_IsDescribed_Moved_AndDeleted) {
  Fill(10);
  millrace::Groups& groups = client_->groups();
  ASSERT_TRUE(groups.CommitOffsets(topic_, {{.topic = topic_, .partition = 0, .offset = 4}})
                  .value()
                  .empty());
  const auto offsets = groups.DescribeOffsets(topic_);
  ASSERT_OK(offsets.status());
  ASSERT_EQ(offsets->size(), 3u) << "every partition of the topic";
  EXPECT_EQ((*offsets)[0].lag, 6);
  EXPECT_FALSE((*offsets)[1].lag.has_value());

  const millrace::GroupReset back{.shift_by = -3};
  const auto moved = groups.ResetOffsets(topic_, back);
  ASSERT_OK(moved.status());
  ASSERT_EQ(moved->size(), 1u);
  EXPECT_EQ(moved->front().before, 4);
  EXPECT_EQ(moved->front().after, 1);
  const auto past =
      groups.ResetOffsets(topic_, {.topics = {{topic_, {0}}}, .to = millrace::Position::At(11)});
  ASSERT_OK(past.status());
  EXPECT_EQ(past->front().status.reason(), millrace::Reason::kOffsetOutOfRange);
  EXPECT_EQ(OffsetsOf(*groups.FetchOffsets(topic_)), (std::map<uint32_t, int64_t>{{0, 1}}));

  const auto listed = groups.ListGroups(topic_);
  ASSERT_OK(listed.status());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().state, millrace::GroupState::kEmpty);
  EXPECT_EQ(groups.DescribeGroup(topic_)->group.offset_count, 1u);
  const auto lag = groups.DescribeLag(topic_);
  ASSERT_OK(lag.status());
  ASSERT_EQ(lag->partitions.size(), 3u);
  EXPECT_EQ(lag->partitions[0].topic, topic_);
  EXPECT_EQ(groups.DescribeLag("absent").status().reason(), millrace::Reason::kUnknownGroup);
  EXPECT_EQ(groups.DeleteOffsets(topic_, {{topic_, {}}}).value(), 1u);
  ASSERT_OK(groups.DeleteGroup(topic_));
  EXPECT_EQ(groups.DescribeGroup(topic_).status().reason(), millrace::Reason::kUnknownGroup);
  EXPECT_EQ(groups.DeleteGroup(topic_).reason(), millrace::Reason::kUnknownGroup);
}

TEST_F(LibraryTest, Admin_DescribesWhatThereIs) {
  Fill(7, 5000);
  const auto topic = client_->admin().DescribeTopic(topic_);
  ASSERT_OK(topic.status());
  EXPECT_EQ(topic->partitions.size(), 3u);
  const auto offsets = client_->admin().ListOffsets(topic_, 5004);
  ASSERT_OK(offsets.status());
  ASSERT_EQ(offsets->size(), 3u);
  EXPECT_EQ((*offsets)[0].end, 7);
  EXPECT_EQ((*offsets)[0].at_timestamp, 4);
  EXPECT_EQ((*offsets)[0].found_timestamp_ms, 5004);
  EXPECT_EQ((*offsets)[0].found_leader_epoch, (*offsets)[0].leader_epoch);
  const auto beyond = client_->admin().ListOffsets(topic_, 5007);
  ASSERT_OK(beyond.status());
  EXPECT_EQ((*beyond)[0].at_timestamp, 7);
  EXPECT_FALSE((*beyond)[0].found_timestamp_ms || (*beyond)[0].found_leader_epoch);
  const auto replicas = client_->admin().DescribeReplicas(topic_, 0);
  ASSERT_OK(replicas.status());
  ASSERT_EQ(replicas->size(), 1u);
  EXPECT_EQ(replicas->front().role, millrace::ReplicaRole::kLeader);
  EXPECT_EQ(replicas->front().log_end, 7);
  EXPECT_EQ(client_->admin().DescribeReplicas(topic_)->size(), 3u);
  const auto verified = client_->admin().VerifyPartition(topic_, 0);
  ASSERT_OK(verified.status());
  EXPECT_EQ(verified->record_count, 7u);
  EXPECT_EQ(verified->end, 7);
  EXPECT_FALSE(verified->first_difference.has_value());
  EXPECT_TRUE(verified->replicas.size() == 1 && verified->replicas[0].status.ok());
  const auto cluster = client_->admin().DescribeCluster();
  ASSERT_OK(cluster.status());
  EXPECT_EQ(cluster->brokers.size(), 1u);
  const auto info = client_->admin().GetServerInfo();
  ASSERT_OK(info.status());
  EXPECT_GT(info->batch_bytes_max, 0u);
  ASSERT_OK(client_->admin().DeleteTopic(topic_).status());
  EXPECT_EQ(client_->admin().DescribeTopic(topic_).status().code(), millrace::Code::kNotFound);
  EXPECT_EQ(client_->OpenProducer(topic_).status().code(), millrace::Code::kNotFound);
}

}  // namespace

// The producer against model brokers under random faults: leaders change, streams break with
// batches and answers in them, brokers refuse for a while. Whatever happens, every record is stored
// once and in order, and every report tells the truth.

#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "client/cpp/producer.h"
#include "tests/client/cpp/model_brokers.h"

namespace millrace::client {
namespace {

constexpr uint32_t kBrokers = 3;
constexpr uint32_t kPartitions = 4;

class OrderRun {
 public:
  explicit OrderRun(uint64_t seed)
      : random_(seed),
        brokers_(kBrokers, kPartitions),
        producer_({.batch_bytes_max = 40,
                   .memory_bytes_max = 2000,
                   .inflight_bytes_max = 1000,
                   .inflight_batches_max = 1 + static_cast<uint32_t>(random_.Below(8)),
                   .message_bytes_max = 200},
                  {.id = ProducerId(1), .inflight_batches_max = 16}, random_.Fork()) {
    for (uint32_t i = 0; i < kPartitions; ++i) {
      producer_.AddPartition({ModelBrokers::kTopic, PartitionId(i)});
    }
    sent_.resize(kPartitions);
    acknowledged_.resize(kPartitions);
  }

  void Play(int steps) {
    for (int i = 0; i < steps; ++i) {
      Step();
      producer_.CheckInvariants();
    }
    producer_.Flush();
    for (int i = 0; i < 100000 && producer_.unanswered_records() > 0; ++i) CalmStep();
  }

  void Check() {
    EXPECT_EQ(producer_.unanswered_records(), 0u);
    for (uint32_t i = 0; i < kPartitions; ++i) {
      EXPECT_EQ(brokers_.log(i), sent_[i]) << "partition " << i;
      EXPECT_EQ(acknowledged_[i], sent_[i].size()) << "partition " << i;
    }
  }
  uint64_t duplicates_seen() const { return brokers_.duplicates_seen(); }

 private:
  BrokerId AnyBroker() { return BrokerId(static_cast<uint32_t>(random_.Between(1, kBrokers))); }

  void Step() {
    switch (random_.Below(20)) {
      case 0:
        return brokers_.SetLeader(static_cast<uint32_t>(random_.Below(kPartitions)), AnyBroker());
      case 1: {
        if (!random_.OneIn(4)) return;
        const BrokerId broker = AnyBroker();
        brokers_.BreakStream(broker);
        return producer_.OnStreamClosed(broker, now_);
      }
      case 2:
        return RefreshMetadata();
      case 3: {
        const BrokerId broker = AnyBroker();
        const Status busy = ResourceExhausted("busy", Reason::kThrottled);
        if (brokers_.has_work(broker)) brokers_.HandleOne(broker, busy);
        return;
      }
      case 4:
      case 5:
      case 6:
      case 7:
      case 8:
        return SendOne();
      case 9:
      case 10:
      case 11:
        return Handle();
      case 12:
      case 13:
      case 14:
        return Answer();
      default:
        return Poll();
    }
  }
  // Nothing fails any more.
  void CalmStep() {
    RefreshMetadata();
    Handle();
    Answer();
    Poll();
  }

  void SendOne() {
    const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
    const std::string value = std::to_string(sent_[partition].size());
    if (producer_.Send(partition, {.value = value}, now_).ok()) sent_[partition].push_back(value);
  }
  void RefreshMetadata() {
    for (uint32_t i = 0; i < kPartitions; ++i) producer_.OnLeader(i, brokers_.leader(i));
  }
  void Handle() {
    const BrokerId broker = AnyBroker();
    if (brokers_.has_work(broker)) brokers_.HandleOne(broker);
  }
  void Answer() {
    const BrokerId broker = AnyBroker();
    const auto result = brokers_.TakeAnswer(broker);
    if (result) producer_.OnResult(broker, *result, now_);
  }
  void Poll() {
    now_ += Duration(static_cast<int64_t>(random_.Below(20000)));
    ProducerOutput output;
    producer_.Poll(now_, &output);
    for (const ProducerOutput::Message& message : output.messages) brokers_.Receive(message);
    for (const DeliveryReport& report : output.reports) CheckReport(report);
  }
  void CheckReport(const DeliveryReport& report) {
    ASSERT_TRUE(report.status.ok()) << report.status;
    const uint32_t partition = report.partition.partition.value();
    const auto offset = static_cast<size_t>(report.base_offset.value());
    ASSERT_EQ(offset, acknowledged_[partition]) << "acknowledged out of order";
    acknowledged_[partition] += report.record_count;
    ASSERT_LE(acknowledged_[partition], brokers_.log(partition).size());
  }

  Random random_;
  MonotonicTime now_{1000000};
  ModelBrokers brokers_;
  Producer producer_;
  std::vector<std::vector<std::string>> sent_;
  std::vector<size_t> acknowledged_;
};

TEST(ProducerOrder, EveryRecordIsStoredOnceAndInOrder_WhateverFails) {
  uint64_t duplicates = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    OrderRun run(seed);
    run.Play(3000);
    run.Check();
    duplicates += run.duplicates_seen();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << seed;
  }
  EXPECT_GT(duplicates, 300u) << "too few lost answers for the test to mean anything";
}

}  // namespace
}  // namespace millrace::client

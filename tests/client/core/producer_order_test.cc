// The producer against model brokers under random faults: leaders change, streams break with
// batches and answers in them, brokers refuse for a while. Whatever happens, every record is stored
// once and in order, and every record is reported once, and truthfully.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "client/core/producer.h"
#include "tests/client/core/model_brokers.h"

namespace millrace::client {
namespace {

constexpr uint32_t kBrokers = 3;
constexpr uint32_t kPartitions = 4;

class OrderRun {
 public:
  enum Kind {
    kPlain,
    kLoses,    // brokers also refuse for good and forget the producer: then records may fail
    kChanges,  // the limit of batches changes under way, but never so that a record is too large
    kEnds,     // some records name where the log must end, and others store there, too
  };
  explicit OrderRun(uint64_t seed, Kind kind = kPlain)
      : loses_(kind == kLoses),
        changes_(kind == kChanges),
        names_ends_(kind == kEnds),
        random_(seed),
        brokers_(kBrokers, kPartitions),
        producer_({.batch_bytes = kind == kChanges ? size_t{400} : size_t{40},
                   .memory_bytes_max = 2000,
                   .inflight_bytes_max = 1000,
                   .inflight_batches_max = 1 + static_cast<uint32_t>(random_.Below(8)),
                   .message_bytes_max = 200,
                   .compression = kBatchCompressions[random_.Below(5)]},
                  {.id = ProducerId(1), .inflight_batches_max = 16}, random_.Fork()) {
    for (uint32_t i = 0; i < kPartitions; ++i) {
      producer_.AddPartition({ModelBrokers::kTopic, PartitionId(i)});
    }
    sent_.resize(kPartitions);
    outcome_.resize(kPartitions);
  }

  void Play(int steps) {
    for (int i = 0; i < steps; ++i) {
      Step();
      producer_.CheckInvariants();
    }
    producer_.Flush(now_);
    for (int i = 0; i < 100000 && producer_.unanswered_records() > 0; ++i) CalmStep();
  }

  void Check() {
    EXPECT_EQ(producer_.unanswered_records(), 0u);
    for (uint32_t i = 0; i < kPartitions; ++i) {
      SCOPED_TRACE("partition " + std::to_string(i));
      EXPECT_EQ(outcome_[i].size(), sent_[i].size()) << "a report for each record";
      if (names_ends_) {
        CheckEnds(i);
      } else if (!loses_) {
        EXPECT_EQ(brokers_.log(i), sent_[i]);
      } else {
        CheckStored(i);
      }
    }
  }
  uint64_t failed_records() const { return failed_records_; }
  uint64_t duplicates_seen() const { return brokers_.duplicates_seen(); }
  uint64_t refused() const { return refused_.size(); }
  uint64_t named() const { return ends_.size(); }
  uint64_t too_large_seen() const { return brokers_.too_large_seen(); }
  uint64_t compressed_seen() const { return brokers_.compressed_seen(); }

 private:
  BrokerId AnyBroker() { return BrokerId(static_cast<uint32_t>(random_.Between(1, kBrokers))); }

  // What is stored is in the order of sending, nothing twice, and what was acknowledged where it
  // was said to be.
  void CheckStored(uint32_t partition) {
    const std::vector<std::string>& log = brokers_.log(partition);
    for (size_t i = 1; i < log.size(); ++i) {
      ASSERT_LT(std::stoul(log[i - 1]), std::stoul(log[i])) << "offset " << i;
    }
    for (size_t i = 0; i < outcome_[partition].size(); ++i) {
      const int64_t offset = outcome_[partition][i];
      if (offset >= 0) {
        ASSERT_EQ(log.at(static_cast<size_t>(offset)), sent_[partition][i]);
      }
    }
  }

  // Each record is where its report says, and none that was refused is anywhere.
  void CheckEnds(uint32_t partition) {
    std::vector<std::string> own = brokers_.log(partition);
    std::erase(own, ModelBrokers::kForeign);
    size_t next = 0;
    for (size_t i = 0; i < outcome_[partition].size(); ++i) {
      const bool is_there = next < own.size() && own[next] == sent_[partition][i];
      next += is_there ? 1 : 0;
      ASSERT_TRUE(is_there || outcome_[partition][i] < 0) << "record " << i << " is lost";
      ASSERT_FALSE(is_there && refused_.contains({partition, i})) << "record " << i << " is there";
    }
    EXPECT_EQ(next, own.size()) << "something is stored twice, or out of order";
  }

  // Mostly the end that all that waits leads to, as who pipelines names it; or one further on.
  std::optional<Offset> DrawEnd(uint32_t partition) {
    if (!names_ends_ || random_.OneIn(2)) return std::nullopt;
    const int64_t end = believed_ends_[partition];
    return Offset(random_.OneIn(12) ? end + static_cast<int64_t>(random_.Below(3)) : end);
  }

  void Lose() {
    if (!loses_ || !random_.OneIn(10)) return;
    const auto partition = static_cast<uint32_t>(random_.Below(kPartitions));
    // Also right after a batch whose answer will be lost.
    if (random_.OneIn(2)) return brokers_.ForgetProducer(partition);
    if (!random_.OneIn(4)) return;
    const BrokerId broker = AnyBroker();
    const Status bad = InvalidArgument("refused", Reason::kCorruptBatch);
    if (brokers_.has_work(broker)) brokers_.HandleOne(broker, bad);
  }

  void ChangeLimit() {
    if (changes_ && random_.OneIn(50)) brokers_.SetBatchLimit(random_.Between(120, 600));
  }

  void Step() {
    Lose();
    ChangeLimit();
    if (names_ends_ && random_.OneIn(60)) {
      brokers_.AppendForeign(static_cast<uint32_t>(random_.Below(kPartitions)));
    }
    switch (random_.Below(20)) {
      case 0:
        return brokers_.SetLeader(static_cast<uint32_t>(random_.Below(kPartitions)), AnyBroker());
      case 1: {
        if (!random_.OneIn(4)) return;
        const BrokerId broker = AnyBroker();
        brokers_.BreakStream(broker);
        return producer_.OnStreamClosed(broker, Unavailable("gone"), now_);
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
    // Long enough to be worth compressing.
    const std::string value = std::to_string(sent_[partition].size()) + std::string(30, ' ');
    const std::optional<Offset> end = DrawEnd(partition);
    if (!producer_.Send(partition, {.value = value}, now_, end).ok()) return;
    if (end.has_value()) ends_[{partition, sent_[partition].size()}] = end->value();
    ++believed_ends_[partition];
    sent_[partition].push_back(value);
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
    for (const DeliveryReport& report : output.reports) OnReport(report);
    if (output.wants_epoch_after && random_.OneIn(3)) {
      producer_.OnEpoch(ProducerId(1), *output.wants_epoch_after + 1);
    }
  }
  void OnReport(const DeliveryReport& report) {
    for (uint32_t i = 0; i < report.record_count; ++i) {
      const bool is_known = report.base_offset >= Offset(0);
      OnDelivery(report, is_known ? report.base_offset.value() + int64_t{i} : -1);
    }
  }
  // One record of the report, at `offset`.
  void OnDelivery(const DeliveryReport& report, int64_t offset) {
    const uint32_t partition = report.partition.partition.value();
    const size_t number = outcome_[partition].size();
    ASSERT_LT(number, sent_[partition].size()) << "reported twice";
    outcome_[partition].push_back(offset);
    if (loses_) {
      failed_records_ += report.status.ok() ? 0 : 1;
      return;
    }
    if (names_ends_) return OnNamedEnd(report, {partition, number}, offset);
    ASSERT_TRUE(report.status.ok()) << report.status;
    // A part of a batch that an earlier attempt has stored whole does not learn its own offset.
    const bool is_known = !changes_ || offset >= 0;
    ASSERT_TRUE(!is_known || offset == static_cast<int64_t>(number)) << offset;
    ASSERT_LT(number, brokers_.log(partition).size()) << "acknowledged before it was stored";
  }

  // By partition and the record's number there.
  using RecordNumber = std::pair<uint32_t, size_t>;
  void OnNamedEnd(const DeliveryReport& report, const RecordNumber& record, int64_t offset) {
    const auto named = ends_.find(record);
    if (report.status.ok()) {
      const bool is_there = named == ends_.end() || offset < 0 || offset == named->second;
      ASSERT_TRUE(is_there) << offset << " is not " << named->second;
      return;
    }
    // What an attempt leaves in doubt takes those behind it with it.
    ASSERT_EQ(report.status.reason(), Reason::kOffsetMoved) << report.status;
    ASSERT_TRUE(named != ends_.end() || in_doubt_.contains(record.first)) << report.status;
    believed_ends_[record.first] = std::stol(report.status.metadata().at(0).second);
    if (report.may_be_stored) in_doubt_.insert(record.first);
    if (!report.may_be_stored) refused_.insert(record);
  }

  const bool loses_;
  const bool changes_;
  const bool names_ends_;
  Random random_;
  MonotonicTime now_{1000000};
  ModelBrokers brokers_;
  Producer producer_;
  std::vector<std::vector<std::string>> sent_;
  std::vector<std::vector<int64_t>> outcome_;  // by record: its offset, or -1
  uint64_t failed_records_ = 0;
  std::map<uint32_t, int64_t> believed_ends_;
  std::map<RecordNumber, int64_t> ends_;  // those that were named
  std::set<RecordNumber> refused_;        // and are certainly not stored
  std::set<uint32_t> in_doubt_;           // partitions where a refused record may be stored
};

TEST(ProducerOrder, EveryRecordIsStoredOnceAndInOrder_WhateverFails) {
  uint64_t duplicates = 0;
  uint64_t compressed = 0;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    OrderRun run(seed);
    run.Play(3000);
    run.Check();
    duplicates += run.duplicates_seen();
    compressed += run.compressed_seen();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << seed;
  }
  EXPECT_GT(duplicates, 300u) << "too few lost answers for the test to mean anything";
  EXPECT_GT(compressed, 1000u) << "nor without compressed batches";
}

TEST(ProducerOrder, NothingIsDoubledOrReordered_WhenBrokersRefuseForGoodOrForgetTheProducer) {
  uint64_t failed = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    OrderRun run(seed, OrderRun::kLoses);
    run.Play(3000);
    run.Check();
    failed += run.failed_records();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << seed;
  }
  EXPECT_GT(failed, 100u) << "too few failures for the test to mean anything";
}

TEST(ProducerOrder, BatchesOverALimitThatChanges_AreSplit_AndNothingIsDoubledOrReordered) {
  uint64_t too_large = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    OrderRun run(seed, OrderRun::kChanges);
    run.Play(3000);
    run.Check();
    too_large += run.too_large_seen();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << seed;
  }
  EXPECT_GT(too_large, 300u) << "too few for the test to mean anything";
}

TEST(ProducerOrder, ARecordThatNamesAnEnd_IsStoredThereOrNowhere_AndTakesNoOtherWithIt) {
  uint64_t refused = 0;
  uint64_t named = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed=" + std::to_string(seed));
    OrderRun run(seed, OrderRun::kEnds);
    run.Play(3000);
    run.Check();
    refused += run.refused();
    named += run.named();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed=" << seed;
  }
  EXPECT_GT(refused, 1000u) << "too few refusals for the test to mean anything";
  EXPECT_GT(named - refused, 1000u) << "nor with too few that are stored";
}

}  // namespace
}  // namespace millrace::client

// One replica's pass from its offer to its end, on a store that does what the test says.
#include "broker/partition/compactor.h"

#include <deque>
#include <string>
#include <utility>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "proto/record/record_batch_builder.h"
#include "raft/codec/entry_codec.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/raft/host/state_machine_property.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{9};
constexpr raft::ReplicaId kReplica{kGroup, ReplicaNumber(1)};
constexpr TopicPartition kHome{TopicId(7), PartitionId(3)};
constexpr int kSegments = 8;
constexpr ProducerId kProducer{5};

// A log of sealed segments, of one batch each.
class SealedLog {
 public:
  // Two records, of this key and of one that no other has. `number`: of a producer's transaction.
  void Append(const std::string& key, uint64_t number = 0) {
    RecordBatchBuilder builder({});
    for (const std::string& each : {key, "only in " + std::to_string(sealed_.size())}) {
      CHECK(builder.TryAppend({.key = each, .value = std::string(1000, 'v')}));
    }
    const Bytes batch = std::move(builder).Finish({.destination = kHome});
    const Offset base_offset(2 * static_cast<int64_t>(sealed_.size()));
    const uint16_t flag = number == 0 ? 0 : kFrameTransactional;
    entries_.Add({.type = FrameType::kRecordBatch,
                  .feature_level = kFeatureLevel,
                  .flags = static_cast<uint16_t>(kFramePacked | flag),
                  .base_offset = base_offset,
                  .offset_span = 2,
                  .record_count = 2,
                  .producer_id = kProducer,
                  .transaction_number = number},
                 batch.view());
    sealed_.push_back({.end = raft::EndAfter(entries_.entries().back().frame.header()),
                       .base_offset = base_offset,
                       .has_state = true});
  }
  // The marker of that transaction, which the last batch is all of, in the segment that is written.
  LogIndex Abort(uint64_t number) {
    entries_.Add({.type = FrameType::kTransactionMarker,
                  .feature_level = kFeatureLevel,
                  .flags = kFrameControl | kFrameTransactional,
                  .base_offset = sealed_.back().end.next_offset,
                  .producer_id = kProducer,
                  .transaction_number = number,
                  .reach = 2},
                 "");
    return entries_.entries().back().index;
  }
  void Fill(raft::MemoryLogStore* store) const {
    auto& group = store->groups[kGroup];
    group.entries = store->from_offset = entries_.entries();
    group.sealed = sealed_;
    group.committed = store->rewritable[kGroup] = sealed_.back().end.index;
  }
  uint64_t bytes() const {
    uint64_t bytes = 0;
    for (const raft::core::Entry& entry : entries_.entries()) bytes += entry.size_bytes();
    return bytes;
  }

 private:
  raft::EntrySequence entries_{kGroup};
  std::deque<raft::SealedSegment> sealed_;
};

class CompactorTest : public testing::Test {
 protected:
  CompactorTest() {
    for (int i = 0; i < kSegments; ++i) log_.Append("everywhere");
    log_.Fill(&store_);
  }
  // The one that takes all of the key but the newest.
  void Offer(LogIndex decided_by = LogIndex()) {
    compactor_.Offer({.replica = kReplica,
                      .name = kHome,
                      .state = {.pass = 1, .clean_to = Offset(2 * kSegments)},
                      .decided_by = decided_by});
  }
  // How long it took until nothing is under way.
  Duration Run() {
    const MonotonicTime began = process_.clock().Now();
    while (compactor_.is_busy()) world_.RunFor(std::chrono::milliseconds(1));
    return process_.clock().Now() - began;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryLogStore store_{process_.executor()};
  SealedLog log_;
  BatchWorker batches_{process_.executor(), process_.executor()};
  CompactorOptions options_{.bytes_per_second = 1000};
  int done_ = 0;
  Compactor compactor_{{.executor = process_.executor(),
                        .clock = process_.clock(),
                        .store = store_,
                        .batches = batches_,
                        .name_of = [](RaftGroupId) { return "the table"; }},
                       options_,
                       Random(1),
                       [this](const raft::ReplicaId&) { ++done_; }};
};

TEST_F(CompactorTest, APass_MakesAnewWhatHasSomethingToGo_AndIsDone) {
  Offer();
  EXPECT_TRUE(compactor_.IsCompacting(kGroup));
  EXPECT_FALSE(compactor_.IsCompacting(RaftGroupId(10)));
  Run();
  EXPECT_EQ(store_.rewrites, size_t{kSegments - 1});
  EXPECT_EQ(store_.compacted(kGroup).pass, 1U);
  EXPECT_EQ(done_, 1);
  EXPECT_FALSE(compactor_.IsCompacting(kGroup));
  Offer();
  EXPECT_FALSE(compactor_.is_busy()) << "it is done";
}

// As large as it may be it takes longer than the shard has.
TEST_F(CompactorTest, TheMapOfKeys_IsMadeOnTheWorker) {
  Offer();
  EXPECT_EQ(store_.reads_from_offset, 0U) << "there is no map yet";
  Run();
  EXPECT_EQ(store_.reads_from_offset, 1U);
}

// All is read for its keys, and to see whether something goes; then again what is made anew.
TEST_F(CompactorTest, APass_ReadsAsFastAsItMay_HoweverSmallFilesAre) {
  Offer();
  const auto took_ms = static_cast<uint64_t>(Run() / std::chrono::milliseconds(1));
  const uint64_t read = 2 * log_.bytes() + log_.bytes() * (kSegments - 1) / kSegments;
  const uint64_t due_ms = read * 1000 / options_.bytes_per_second;
  EXPECT_GE(took_ms, due_ms);
  EXPECT_LE(took_ms, due_ms + 1000);
}

TEST_F(CompactorTest, WhatIsVoid_SupersedesNothing_AndGoes) {
  SealedLog log;
  for (int i = 0; i < kSegments - 1; ++i) log.Append("everywhere");
  log.Append("everywhere", 1);
  const LogIndex marker = log.Abort(1);
  log.Fill(&store_);
  Offer(marker);
  EXPECT_FALSE(compactor_.is_busy()) << "the marker cannot be read yet";
  store_.groups[kGroup].committed = marker;
  Offer(marker);
  Run();
  EXPECT_EQ(done_, 1);
  // The segment before the last one has the newest of the key, and stays as it is.
  EXPECT_EQ(store_.rewrites, size_t{kSegments - 1});
  for (const raft::core::Entry& entry : store_.rewritten) {
    const FrameHeader header = entry.frame.header();
    EXPECT_NE(header.base_offset, Offset(2 * (kSegments - 2)));
    EXPECT_EQ(header.transaction_number, 0U);
  }
}

TEST_F(CompactorTest, AnAttemptThatAnErrorEnds_IsToldOf_AndBeginsAgainTenSecondsLater) {
  store_.rewrite_error = ResourceExhausted("no room");
  Offer();
  Run();
  EXPECT_EQ(compactor_.FailureOf(kGroup), store_.rewrite_error);
  EXPECT_TRUE(compactor_.FailureOf(RaftGroupId(10)).ok());
  EXPECT_EQ(done_, 0);
  store_.rewrite_error = Status();
  Offer();
  EXPECT_FALSE(compactor_.is_busy());
  world_.RunFor(std::chrono::seconds(10));
  Offer();
  Run();
  EXPECT_EQ(done_, 1);
  EXPECT_TRUE(compactor_.FailureOf(kGroup).ok());
}

TEST_F(CompactorTest, AnAttemptThatWhatChangedMeanwhileEnds_IsToldOf_AndBeginsAgainAtOnce) {
  store_.rewrite_error = Aborted("the segment was dropped");
  Offer();
  Run();
  EXPECT_EQ(compactor_.FailureOf(kGroup), store_.rewrite_error);
  Offer();
  EXPECT_TRUE(compactor_.is_busy());
  compactor_.Forget(kGroup);
  EXPECT_TRUE(compactor_.FailureOf(kGroup).ok());
}

}  // namespace
}  // namespace millrace::broker

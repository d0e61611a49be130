// Any replica digests what it holds on its disk, whoever leads, and says where it is between two
// passes of compaction.
#include "broker/partition/digester.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/v1/record.pb.h"
#include "raft/runtime/pace.h"
#include "tests/broker/partition/lone_partition.h"

namespace millrace::broker {
namespace {

constexpr RaftGroupId kGroup{7};

// A follower with records that a test gives it.
class DigesterTest : public testing::Test, protected LonePartition {
 protected:
  DigesterTest() : LonePartition(kGroup) {}

  void SetUp() override {
    store_.groups[kGroup];
    partition_.set_leader_epoch_base(100);
    group_.Lead(Term(1));
  }

  // Each in a batch of its own.
  void Append(int records, size_t bytes = 10) {
    for (int i = 0; i < records; ++i) {
      v1::RecordBatch batch;
      batch.add_records()->set_value(std::string(bytes, static_cast<char>('a' + i % 26)));
      partition_.Produce({.bytes = Bytes::Own(batch.SerializeAsString())},
                         [](const Result<ProduceOutcome>&) {});
    }
    group_.CommitAll();
    group_.Follow(Term(2));
  }
  // Files have all up to this one, too.
  void FillSegments(LogIndex end) {
    store_.from_offset.clear();
    for (LogIndex at(1); at <= end; ++at) store_.from_offset.push_back(group_.log().At(at));
    store_.groups[kGroup].committed = end;
  }
  Result<ReplicaDigest> Digest(int64_t begin, int64_t end) {
    std::optional<Result<ReplicaDigest>> told;
    digester_.Digest(kGroup, {.begin = Offset(begin), .end = Offset(end)},
                     [&](Result<ReplicaDigest> digest) { told = std::move(digest); });
    CHECK(world_.RunUntil([&] { return told.has_value(); }, std::chrono::seconds(10)));
    return *std::move(told);
  }
  ReplicaDigest Digested(int64_t begin, int64_t end) {
    Result<ReplicaDigest> digest = Digest(begin, end);
    CHECK(digest.ok()) << digest.status();
    return *std::move(digest);
  }

  Digester MakeDigester(uint64_t bytes_per_second) {
    return Digester(
        {.executor = process_.executor(),
         .clock = process_.clock(),
         .batches = batches_,
         .find_replica = [this](RaftGroupId) { return is_here_ ? &partition_ : nullptr; },
         .writes = [this] { return has_live_records_ ? ++writes_ : writes_; }},
        bytes_per_second);
  }

  bool is_here_ = true;
  bool has_live_records_ = false;
  uint64_t writes_ = 0;
  Digester digester_ = MakeDigester(uint64_t{1} << 30);
};

TEST_F(DigesterTest, AFollower_DigestsWhatItHas_PieceByPiece) {
  Append(5, 700'000);
  const ReplicaDigest all = Digested(0, 5);
  EXPECT_EQ(all.reached, Offset(5));
  EXPECT_EQ(all.digest.records, 5u);
  EXPECT_GT(all.bytes, 3'500'000u);
  EXPECT_EQ(all.offsets.high_watermark, Offset(5));
  EXPECT_FALSE(all.is_compacting);
  RecordDigest sum = Digested(0, 2).digest;
  sum += Digested(2, 5).digest;
  EXPECT_EQ(sum, all.digest);
}

TEST_F(DigesterTest, AnAnswer_IsAboutSoMuch_AndSaysWhereToGoOn) {
  Append(20, 1'000'000);
  const ReplicaDigest first = Digested(0, 20);
  EXPECT_GT(first.reached, Offset(15));
  EXPECT_LT(first.reached, Offset(20));
  EXPECT_EQ(first.digest.records, static_cast<uint64_t>(first.reached.value()));
  EXPECT_EQ(Digested(first.reached.value(), 20).reached, Offset(20));
}

// Of several that ask at once, too.
TEST_F(DigesterTest, NoMoreIsRead_ThanItsPaceSays_AFifthOfItBesideLiveRecords) {
  constexpr uint64_t kBytesPerSecond = 10 << 20;
  Append(5, 1'000'000);
  for (const bool has_live_records : {false, true}) {
    has_live_records_ = has_live_records;
    Digester slow = MakeDigester(kBytesPerSecond);
    const MonotonicTime began = process_.clock().Now();
    uint64_t bytes = 0;
    uint64_t last_bytes = 0;
    int told = 0;
    for (int64_t begin = 0; begin < 5; ++begin) {
      slow.Digest(kGroup, {.begin = Offset(begin), .end = Offset(begin + 1)},
                  [&](const Result<ReplicaDigest>& digest) {
                    ++told;
                    last_bytes = digest.value().bytes;
                    bytes += last_bytes;
                  });
    }
    CHECK(world_.RunUntil([&] { return told == 5; }, std::chrono::seconds(60)));
    // Nothing waits for the time of the last one.
    const Duration due =
        TimeOf(bytes - last_bytes, has_live_records ? kBytesPerSecond / 5 : kBytesPerSecond);
    const Duration took = process_.clock().Now() - began;
    EXPECT_GE(took, due - std::chrono::milliseconds(1)) << has_live_records;
    EXPECT_LT(took, due + std::chrono::milliseconds(50)) << has_live_records;
  }
}

TEST_F(DigesterTest, AtASlowPace_AnAnswerIsAboutWhatASecondReads_BesideLiveRecords) {
  Append(5, 700'000);
  Digester slow = MakeDigester(5 << 20);
  std::optional<ReplicaDigest> told;
  slow.Digest(kGroup, {.begin = Offset(0), .end = Offset(5)},
              [&](const Result<ReplicaDigest>& digest) { told = digest.value(); });
  CHECK(world_.RunUntil([&] { return told.has_value(); }, std::chrono::seconds(10)));
  EXPECT_EQ(told->reached, Offset(2));
}

TEST_F(DigesterTest, ItEndsWhereTheReplicaDoes) {
  Append(3);
  EXPECT_EQ(Digested(1, 100).reached, Offset(3));
  const ReplicaDigest nothing = Digested(3, 100);
  EXPECT_EQ(nothing.reached, Offset(3));
  EXPECT_EQ(nothing.digest, RecordDigest());
  const Status past = Digest(4, 100).status();
  EXPECT_EQ(past.code(), Code::kOutOfRange);
  EXPECT_THAT(past.message(), testing::HasSubstr("outside 0 to 3"));
}

// What compaction left stands there; memory has what was appended.
TEST_F(DigesterTest, WhatSegmentsHave_IsReadThere_AndTheRestFromMemory) {
  Append(3);
  const ReplicaDigest in_memory = Digested(0, 3);
  FillSegments(LogIndex(2));
  EXPECT_EQ(Digested(0, 3).digest, in_memory.digest);
  // The first one is gone there.
  store_.from_offset.erase(store_.from_offset.begin());
  EXPECT_EQ(Digested(0, 3).digest, Digested(1, 3).digest);
}

TEST_F(DigesterTest, Damage_IsTold_AsReadersAre) {
  Append(3);
  store_.groups[kGroup].committed = LogIndex(3);  // and nothing can be read
  group_.told_of_unreadable = Unavailable("it is repaired");
  EXPECT_EQ(Digest(0, 3).status(), Unavailable("it is repaired"));
  EXPECT_EQ(group_.unreadable.size(), 1u);
}

TEST_F(DigesterTest, WhoTakesNoPart_SaysWhy_AndWhoIsNotHereToo) {
  group_.FallSilent(DataLoss("its journal was damaged"));
  EXPECT_EQ(Digest(0, 1).status(), DataLoss("its journal was damaged"));
  is_here_ = false;
  EXPECT_EQ(Digest(0, 1).status().code(), Code::kNotFound);
}

TEST_F(DigesterTest, APassThatIsDoneMeanwhile_IsTold) {
  Append(5, 700'000);
  EXPECT_FALSE(Digested(0, 5).is_compacting);
  process_.executor().Post([this] { store_.compaction[kGroup].pass = 1; });
  const ReplicaDigest digest = Digested(0, 5);
  EXPECT_TRUE(digest.is_compacting);
  EXPECT_EQ(digest.pass, 1u);
}

TEST_F(DigesterTest, APassThatIsToBeDone_IsTold) {
  Append(1);
  store_.compaction[kGroup].pass = 3;  // not what was decided
  const ReplicaDigest digest = Digested(0, 1);
  EXPECT_TRUE(digest.is_compacting);
  EXPECT_EQ(digest.pass, 3u);
}

TEST_F(DigesterTest, OneRunsAtATime_AndNotAnyNumberMayWait) {
  Append(3);
  size_t refused = 0;
  size_t answered = 0;
  for (int i = 0; i < 100; ++i) {
    digester_.Digest(kGroup, {.begin = Offset(0), .end = Offset(3)},
                     [&](const Result<ReplicaDigest>& digest) {
                       ++answered;
                       if (digest.ok()) return;
                       ++refused;
                       EXPECT_EQ(digest.status().code(), Code::kResourceExhausted);
                       EXPECT_TRUE(digest.status().retry_after_ms().has_value());
                     });
  }
  EXPECT_GT(refused, 0u);
  CHECK(world_.RunUntil([&] { return answered == 100; }, std::chrono::seconds(10)));
  EXPECT_LT(refused, 50u);
}

}  // namespace
}  // namespace millrace::broker

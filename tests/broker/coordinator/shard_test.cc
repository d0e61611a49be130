// A shard of the coordinator as a state machine that decides: on what is applied, one decision of a
// key after the other, and answers that hold.
#include "broker/coordinator/shard.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <glog/logging.h>
#include <gtest/gtest.h>

#include "broker/coordinator/requests.h"
#include "raft/host/host.h"
#include "raft/runtime/random.h"
#include "tests/raft/host/group_tap.h"
#include "tests/raft/host/memory_log_store.h"
#include "tests/raft/host/state_machine_property.h"
#include "tests/support/sim_runtime/sim_world.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecord;
using internal::v1::CoordinatorRecords;

constexpr RaftGroupId kGroup{9};
constexpr Voter kSelf{BrokerId(1), Incarnation(11), ReplicaNumber(1)};

CoordinatorRecords Epoch(const std::string& group, uint32_t epoch) {
  CoordinatorRecords records;
  auto& changed = *records.add_records()->mutable_group_changed();
  changed.set_group(group);
  changed.set_kind(internal::v1::GROUP_KIND_LOG);
  changed.set_epoch(epoch);
  return records;
}

uint32_t EpochOf(const ShardState& state, const std::string& group) {
  const Group* found = state.Find(group);
  return found == nullptr ? 0 : found->epoch;
}

// One more than the state has.
CoordinatorShard::Decide Raise(const std::string& group) {
  return [group](const ShardState& state) -> Result<CoordinatorRecords> {
    return Epoch(group, EpochOf(state, group) + 1);
  };
}

// The only replica of a shard, over a store that keeps everything.
class CoordinatorShardTest : public testing::Test {
 protected:
  void SetUp() override {
    FLAGS_minloglevel = google::GLOG_FATAL;
    Make();
    raft::ReplicaRecord record{
        .group = kGroup, .number = kSelf.number, .kind = raft::ReplicaKind::kCoordinator};
    record.configuration.voters = {kSelf};
    host_->CreateReplica(record, /*campaign=*/true, *tap_);
    Settle();
    ASSERT_TRUE(shard_->is_ready());
  }
  void Make() {
    host_.reset();
    host_ = std::make_unique<raft::Host>(
        raft::HostOptions{.self = kSelf.holder()},
        raft::HostEnvironment{process_.executor(), process_.clock(), transport_, store_},
        process_.Fork());
    shard_ = std::make_unique<CoordinatorShard>(
        kGroup,
        CoordinatorShard::Environment{process_.executor(), process_.clock(), image_, memory_});
    tap_ = std::make_unique<raft::GroupTap>(*shard_);
    host_->Start();
  }
  void Restart() {
    Make();
    host_->AddReplica(store_.Recovered(kGroup), *tap_);
    Settle();
  }
  void Settle() { world_.RunFor(std::chrono::milliseconds(100)); }
  size_t entries() const { return store_.groups.at(kGroup).entries.size(); }

  // Null until it is answered.
  std::optional<Status>& Ask(const std::string& key, CoordinatorShard::Decide decide,
                             bool is_alone = true, uint64_t bytes = 1) {
    auto& answer = *answers_.emplace_back(std::make_unique<std::optional<Status>>());
    shard_->Execute({.key = key,
                     .is_alone = is_alone,
                     .bytes = bytes,
                     .decide = std::move(decide),
                     .done = [&answer](Status status) { answer = std::move(status); }});
    return answer;
  }

  sim::SimWorld world_{1};
  sim::SimProcess& process_ = world_.AddProcess("broker");
  raft::MemoryTransport transport_;
  raft::MemoryLogStore store_{process_.executor()};
  Image image_;
  CoordinatorMemory memory_{CoordinatorLimits{}};
  std::unique_ptr<raft::Host> host_;
  std::unique_ptr<CoordinatorShard> shard_;
  std::unique_ptr<raft::GroupTap> tap_;
  std::vector<std::unique_ptr<std::optional<Status>>> answers_;
};

TEST_F(CoordinatorShardTest, ADecision_IsAnsweredOnceItIsApplied) {
  std::optional<Status>& answer = Ask("g", Raise("g"));
  EXPECT_FALSE(answer.has_value());
  EXPECT_EQ(EpochOf(shard_->state(), "g"), 0U);
  Settle();
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(answer->ok());
  EXPECT_EQ(EpochOf(shard_->state(), "g"), 1U);
}

// What a turn decides, of all keys, is one entry.
TEST_F(CoordinatorShardTest, DecisionsOfOneTurn_AreOneEntry) {
  const size_t before = entries();
  for (int i = 0; i < 50; ++i) {
    const std::string group = "g" + std::to_string(i);
    Ask(group, Raise(group));
  }
  Settle();
  EXPECT_EQ(entries(), before + 1);
  for (const auto& answer : answers_) EXPECT_TRUE(answer->has_value() && (*answer)->ok());
}

// Rule 20: "One decision per group is in flight; who came meanwhile is decided together", each on
// what the ones before it change.
TEST_F(CoordinatorShardTest,
       Rule20_OneDecisionOfAKeyIsInFlight_AndWhoComesMeanwhileIsDecidedTogether) {
  const size_t before = entries();
  for (int i = 0; i < 100; ++i) Ask("g", Raise("g"));
  Settle();
  EXPECT_EQ(EpochOf(shard_->state(), "g"), 100U) << "none rests on what another one has taken";
  EXPECT_EQ(entries(), before + 2);
  for (const auto& answer : answers_) EXPECT_TRUE(answer->has_value() && (*answer)->ok());
}

// What is not taken alone, a commit, waits for a decision that is, and holds nothing up itself.
TEST_F(CoordinatorShardTest, WhatIsNotTakenAlone_WaitsForADecision_AndIsDecidedOnWhatItChanged) {
  Ask("g", Raise("g"));
  std::optional<uint32_t> seen;
  Ask(
      "g",
      [&seen](const ShardState& state) -> Result<CoordinatorRecords> {
        seen = EpochOf(state, "g");
        return CoordinatorRecords();
      },
      /*is_alone=*/false);
  EXPECT_FALSE(seen.has_value());
  std::optional<uint32_t> other;
  Ask(
      "h",
      [&other](const ShardState& state) -> Result<CoordinatorRecords> {
        other = EpochOf(state, "g");
        return Epoch("h", 1);
      },
      /*is_alone=*/false);
  EXPECT_EQ(other, 0U) << "another key's is decided at once";
  std::optional<uint32_t> beside;
  Ask("h", [&beside](const ShardState& state) -> Result<CoordinatorRecords> {
    beside = EpochOf(state, "h");
    return CoordinatorRecords();
  });
  EXPECT_EQ(beside, 0U) << "and nothing waits for it";
  Settle();
  EXPECT_EQ(seen, 1U);
}

// A group and a transactional id may have one name.
TEST_F(CoordinatorShardTest, KeysOfTwoKinds_AreTwo) {
  Ask("g", Raise("g"));
  std::optional<uint32_t> seen;
  shard_->Execute({.kind = CoordinatorShard::KeyKind::kTransactionalId,
                   .key = "g",
                   .decide = [&seen](const ShardState& state) -> Result<CoordinatorRecords> {
                     seen = EpochOf(state, "g");
                     return CoordinatorRecords();
                   },
                   .done = [](const Status&) {}});
  EXPECT_EQ(seen, 0U) << "it does not wait for the group";
}

TEST_F(CoordinatorShardTest, AnErrorBehindADecision_IsAnsweredAfterIt) {
  std::optional<Status>& first = Ask("g", Raise("g"));
  std::optional<Status>& second =
      Ask("g", [](const ShardState&) -> Result<CoordinatorRecords> { return NotFound("nothing"); });
  EXPECT_FALSE(second.has_value());
  Settle();
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_TRUE(first->ok());
  EXPECT_EQ(second->code(), Code::kNotFound);
}

TEST_F(CoordinatorShardTest, TooManyThatWaitForAKey_AreRefused_AndNothingElseIs) {
  for (int i = 0; i < 1001; ++i) Ask("g", Raise("g"));
  std::optional<Status>& refused = Ask("g", Raise("g"));
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->reason(), Reason::kThrottled);
  EXPECT_TRUE(refused->retry_after_ms().has_value());
  std::optional<Status>& other = Ask("h", Raise("h"));
  Settle();
  EXPECT_TRUE(other.has_value() && other->ok());
  EXPECT_EQ(EpochOf(shard_->state(), "g"), 1001U);
}

TEST_F(CoordinatorShardTest, WhatWaitsForAKey_IsBoundedInBytes) {
  Ask("g", Raise("g"));
  std::optional<Status>& large = Ask("g", Raise("g"), true, 2 << 20);
  EXPECT_FALSE(large.has_value()) << "a single one passes";
  std::optional<Status>& next = Ask("g", Raise("g"), true, 1);
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->reason(), Reason::kThrottled);
  Settle();
  EXPECT_TRUE(large.has_value() && large->ok());
}

// Rule 1: "What positions a reader is told after a read barrier of the shard's group; one barrier
// serves all that wait in a turn."
TEST_F(CoordinatorShardTest, Rule1_WhoReads_IsAnsweredAfterABarrier) {
  int confirmed = 0;
  for (int i = 0; i < 10; ++i) {
    shard_->Confirm([&confirmed](const Status& status) { confirmed += status.ok() ? 1 : 0; });
  }
  EXPECT_EQ(confirmed, 0);
  Settle();
  EXPECT_EQ(confirmed, 10);
}

TEST_F(CoordinatorShardTest, WhoLosesLeadership_SaysThatTheFateIsUnknown) {
  std::optional<Status>& first = Ask("g", Raise("g"));
  std::optional<Status>& second = Ask("g", Raise("g"));
  world_.RunFor(Duration::zero());
  shard_->OnLeadership({.term = Term(99), .leader = {}});
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(first->code(), Code::kUnavailable);
  EXPECT_EQ(second->code(), Code::kUnavailable);
  std::optional<Status>& later = Ask("g", Raise("g"));
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->code(), Code::kUnavailable);
}

TEST_F(CoordinatorShardTest, AfterARoll_ARestartHasItsState_AndTellsOfItsMemory) {
  store_.roll_every = 1;
  for (int i = 0; i < 20; ++i) Ask("g" + std::to_string(i), Raise("g" + std::to_string(i)));
  Settle();
  const uint64_t bytes = memory_.bytes();
  EXPECT_EQ(bytes, shard_->state().bytes());
  EXPECT_GT(bytes, 0U);
  Restart();
  EXPECT_EQ(shard_->state().group_count(), 20U);
  EXPECT_EQ(memory_.bytes(), bytes);
  Ask("g0", Raise("g0"));
  Settle();
  EXPECT_EQ(EpochOf(shard_->state(), "g0"), 2U);
}

TEST_F(CoordinatorShardTest, OneThatWasRestored_GoesOnAsBefore) {
  raft::EntrySequence log(kGroup);
  Random random(5);
  log.Add({.type = FrameType::kNoOp, .append_time_ms = 5}, "");
  for (int i = 0; i < 30; ++i) {
    CoordinatorRecords records;
    if (random.OneIn(4)) {
      records = Epoch("g" + std::to_string(random.Below(3)), static_cast<uint32_t>(i + 1));
    } else {
      auto& committed = *records.add_records()->mutable_offsets_committed();
      committed.set_group("g" + std::to_string(random.Below(3)));
      auto& topic = *committed.add_topics();
      topic.set_topic_id(1 + random.Below(2));
      topic.add_partitions(static_cast<uint32_t>(random.Below(4)));
      topic.add_offsets(i);
    }
    log.Add({.type = FrameType::kCoordinatorCommand,
             .feature_level = 3,
             .flags = kFrameControl,
             .append_time_ms = 10 + i},
            records.SerializeAsString());
  }
  raft::ExpectRestoredGoesOnAsBefore(log.entries(), [this] {
    return std::make_unique<CoordinatorShard>(
        kGroup,
        CoordinatorShard::Environment{process_.executor(), process_.clock(), image_, memory_});
  });
}

TEST_F(CoordinatorShardTest, AnEntryOfAnotherKind_IsNotApplied) {
  raft::EntrySequence log(kGroup);
  log.Add({.type = FrameType::kControllerCommand, .append_time_ms = 5}, "");
  EXPECT_EQ(shard_->Apply(log.entries()[0]).code(), Code::kDataLoss);
  raft::EntrySequence unreadable(kGroup);
  unreadable.Add({.type = FrameType::kCoordinatorCommand, .feature_level = 3}, "\xFF\xFF");
  EXPECT_EQ(shard_->Apply(unreadable.entries()[0]).code(), Code::kDataLoss);
}

}  // namespace
}  // namespace millrace::broker

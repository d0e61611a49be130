// What a shard's leader forgets by itself, and when.
#include "broker/coordinator/sweep.h"

#include <string>

#include <gtest/gtest.h>

#include "tests/broker/controller/records.h"

namespace millrace::broker {
namespace {

using internal::v1::CoordinatorRecord;
using internal::v1::CoordinatorRecords;

constexpr int64_t kRetentionMs = 1000;

class SweepTest : public testing::Test {
 protected:
  void Commit(const std::string& group, TopicId topic, uint32_t partition, int64_t time_ms) {
    CoordinatorRecord record;
    record.mutable_offsets_committed()->set_group(group);
    auto& out = *record.mutable_offsets_committed()->add_topics();
    out.set_topic_id(topic.value());
    out.add_partitions(partition);
    out.add_offsets(1);
    Apply(record, time_ms);
  }
  void Apply(const CoordinatorRecord& record, int64_t time_ms) {
    last_ = last_ + 1;
    ASSERT_TRUE(state_.Apply(record, {.index = last_, .time_ms = time_ms}).ok());
  }
  CoordinatorRecords Look(std::optional<int64_t> wall_ms) {
    ShardState::Cursor cursor;
    return Sweep(state_, last_, image_, {.wall_ms = wall_ms, .retention_ms = kRetentionMs},
                 &cursor);
  }
  // Until a round finds nothing.
  void SweepAll(std::optional<int64_t> wall_ms) {
    while (true) {
      const CoordinatorRecords records = Look(wall_ms);
      if (records.records().empty()) return;
      for (const auto& record : records.records()) Apply(record, wall_ms.value_or(0));
    }
  }
  bool Has(const std::string& group, TopicId topic, uint32_t partition) const {
    const Group* found = state_.Find(group);
    return found != nullptr &&
           found->FindOffset({.topic = topic, .partition = PartitionId(partition)}) != nullptr;
  }

  Image image_;
  ShardState state_;
  LogIndex last_;
};

TEST_F(SweepTest, WhatIsOlderThanItIsKept_Goes_AndThenTheGroup) {
  const TopicId topic(3);  // which the image has not made: it may be newer
  Commit("g", topic, 0, 100);
  Commit("g", topic, 1, 600);
  SweepAll(1099);
  EXPECT_TRUE(Has("g", topic, 0));
  SweepAll(1100);
  EXPECT_FALSE(Has("g", topic, 0));
  EXPECT_TRUE(Has("g", topic, 1));
  SweepAll(1600);
  EXPECT_EQ(state_.Find("g"), nullptr);
}

TEST_F(SweepTest, WhileTheClockIsInDoubt_NothingIsOld) {
  Commit("g", TopicId(3), 0, 100);
  EXPECT_TRUE(Look(std::nullopt).records().empty());
}

// Rule 9: "Offsets go on a TopicDeleted record, never because a topic is not in the image."
TEST_F(SweepTest, Rule9_OffsetsOfATopicThatIsDeletedGo_NotThoseOfOneThatTheImageIsTooOldToKnow) {
  ASSERT_TRUE(image_.Apply(Created(1, "gone", 2, 1)).ok());
  ASSERT_TRUE(image_.Apply(Created(2, "there", 3, 1)).ok());
  const TopicId gone = image_.FindTopic("gone")->id;
  const TopicId there = image_.FindTopic("there")->id;
  const TopicId unknown = image_.next_topic_id();
  for (const TopicId topic : {gone, there, unknown}) Commit("g", topic, 0, 100);
  SweepAll(101);
  EXPECT_TRUE(Has("g", gone, 0));
  ASSERT_TRUE(image_.Apply(Deleted(1, 0)).ok());
  SweepAll(std::nullopt);
  EXPECT_FALSE(Has("g", gone, 0));
  EXPECT_TRUE(Has("g", there, 0));
  EXPECT_TRUE(Has("g", unknown, 0));
}

// What a group commits between decision and entry stays.
TEST_F(SweepTest, WhatIsCommittedMeanwhile_Stays) {
  const TopicId topic(3);
  Commit("g", topic, 0, 100);
  Commit("h", topic, 0, 100);
  const CoordinatorRecords decided = Look(5000);
  ASSERT_EQ(decided.records_size(), 2);
  Commit("g", topic, 0, 5001);
  for (const auto& record : decided.records()) Apply(record, 5002);
  EXPECT_TRUE(Has("g", topic, 0));
  EXPECT_EQ(state_.Find("h"), nullptr);
}

// A round looks at some; the next goes on behind them.
TEST_F(SweepTest, ManyGroups_AreGoneThroughAPartAtATime) {
  for (int i = 0; i < 2500; ++i) Commit("g" + std::to_string(i), TopicId(3), 0, 100);
  ShardState::Cursor cursor;
  const SweepTime time{.wall_ms = 5000, .retention_ms = kRetentionMs};
  size_t found = 0;
  int rounds = 0;
  do {
    const CoordinatorRecords records = Sweep(state_, last_, image_, time, &cursor);
    EXPECT_LE(records.records_size(), 1000);
    found += static_cast<size_t>(records.records_size());
    ++rounds;
  } while (cursor != ShardState::Cursor());
  EXPECT_EQ(found, 2500U);
  EXPECT_GE(rounds, 3);
}

}  // namespace
}  // namespace millrace::broker

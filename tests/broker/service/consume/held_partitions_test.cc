// The partitions that a Consume stream's member has, as its assignments come.
#include "broker/service/consume/held_partitions.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

struct Given {
  uint32_t partition = 0;
  uint32_t token = 0;
};

v1::Assignment AssignmentOf(const std::vector<Given>& given,
                            const std::vector<uint32_t>& revoked = {}) {
  v1::Assignment assignment;
  v1::AssignedTopic& topic = *assignment.add_topics();
  topic.set_topic("t");
  topic.set_topic_id(9);
  for (const Given& one : given) {
    v1::AssignedPartition& partition = *topic.add_partitions();
    partition.set_partition(one.partition);
    partition.set_fencing_token(one.token);
  }
  if (revoked.empty()) return assignment;
  v1::OwnedPartitions& gone = *assignment.add_revoked();
  gone.set_topic_id(9);
  for (const uint32_t partition : revoked) gone.add_partitions(partition);
  return assignment;
}

std::string Names(const std::vector<HeldPartition>& partitions) {
  std::string names;
  for (const HeldPartition& held : partitions) {
    names += std::to_string(held.partition.partition.value()) + (held.is_told ? " " : "? ");
  }
  return names;
}

class HeldPartitionsTest : public testing::Test {
 protected:
  // Its client knows of them.
  void TellAll() {
    for (auto& [partition, held] : held_.all()) held.is_told = true;
  }
  HeldPartition& At(uint32_t partition) {
    return held_.all().at({.topic = TopicId(9), .partition = PartitionId(partition)});
  }
  HeldPartitions held_{v1::CONSUME_START_LATEST};
};

TEST_F(HeldPartitionsTest, WhatIsGiven_BeginsWhereItWas_OrWhereItIsSaid_OrAtItsStart) {
  v1::Assignment assignment = AssignmentOf({{0, 1}, {1, 1}, {2, 1}});
  auto& partitions = *assignment.mutable_topics(0)->mutable_partitions();
  partitions[0].set_offset(12);
  partitions[2].set_is_later(true);
  const HeldPartitions::Change change = held_.Take(assignment);
  EXPECT_TRUE(change.revoked.empty() && change.lost.empty());
  EXPECT_EQ(At(0).position.offset(), 12);
  EXPECT_EQ(At(0).committed, 12);
  EXPECT_TRUE(At(1).position.latest());
  EXPECT_FALSE(At(1).committed.has_value());
  EXPECT_TRUE(At(2).position.earliest());
  EXPECT_EQ(At(2).topic, "t");
  EXPECT_EQ(held_.Find(At(1).reading), &At(1));
  EXPECT_EQ(held_.Find(99), nullptr);
}

TEST_F(HeldPartitionsTest, WhatIsKept_IsNotTouched) {
  held_.Take(AssignmentOf({{0, 1}, {1, 1}}));
  TellAll();
  const uint64_t reading = At(0).reading;
  const HeldPartitions::Change change = held_.Take(AssignmentOf({{0, 1}, {1, 1}, {2, 2}}));
  EXPECT_TRUE(change.revoked.empty() && change.lost.empty());
  EXPECT_EQ(At(0).reading, reading);
  EXPECT_TRUE(At(0).is_told);
  EXPECT_FALSE(At(2).is_told);
}

TEST_F(HeldPartitionsTest, WhatIsRevoked_IsHeldUntilTheClientIsDone_AndSaidOnce) {
  held_.Take(AssignmentOf({{0, 1}, {1, 1}}));
  TellAll();
  const uint64_t reading = At(1).reading;
  HeldPartitions::Change change = held_.Take(AssignmentOf({{0, 1}}, {1}));
  EXPECT_EQ(Names(change.revoked), "1 ");
  held_.SetRevokedBy(5, change.revoked);
  EXPECT_TRUE(held_.is_revoking());
  change = held_.Take(AssignmentOf({{0, 1}}, {1}));
  EXPECT_TRUE(change.revoked.empty() && change.lost.empty());
  EXPECT_TRUE(held_.GiveUp(4).empty());
  EXPECT_NE(held_.Find(reading), nullptr);
  EXPECT_EQ(held_.GiveUp(7), std::vector<uint64_t>{reading});
  EXPECT_FALSE(held_.is_revoking());
  EXPECT_EQ(held_.Find(reading), nullptr);
  EXPECT_EQ(held_.all().size(), 1U);
}

TEST_F(HeldPartitionsTest, WhatTheClientWasNotToldOf_ItNeedNotGiveUp) {
  held_.Take(AssignmentOf({{0, 1}, {1, 1}}));
  const HeldPartitions::Change change = held_.Take(AssignmentOf({{0, 1}}, {1}));
  EXPECT_TRUE(change.revoked.empty());
  EXPECT_EQ(Names(change.lost), "1? ");
  EXPECT_FALSE(held_.is_revoking());
}

TEST_F(HeldPartitionsTest, WhatIsGoneWithoutAWord_IsLost_AndWhatIsGivenAnewIsAnotherReading) {
  held_.Take(AssignmentOf({{0, 1}, {1, 1}}));
  TellAll();
  const uint64_t reading = At(0).reading;
  const HeldPartitions::Change change = held_.Take(AssignmentOf({{0, 3}}));
  EXPECT_TRUE(change.revoked.empty());
  EXPECT_EQ(Names(change.lost), "0 1 ");
  EXPECT_NE(At(0).reading, reading);
  EXPECT_EQ(At(0).fencing_token, 3U);
  EXPECT_FALSE(At(0).is_told);
  EXPECT_EQ(held_.Find(reading), nullptr);
}

TEST_F(HeldPartitionsTest, WhatComesBackBeforeItWasGivenUp_BeginsAnew_AndIsStillToBeGivenUp) {
  held_.Take(AssignmentOf({{0, 1}}));
  TellAll();
  held_.SetRevokedBy(5, held_.Take(AssignmentOf({}, {0})).revoked);
  const HeldPartitions::Change change = held_.Take(AssignmentOf({{0, 1}}));
  EXPECT_EQ(Names(change.lost), "0 ");
  const uint64_t reading = At(0).reading;
  EXPECT_TRUE(held_.is_revoking());
  held_.GiveUp(5);
  EXPECT_FALSE(held_.is_revoking());
  EXPECT_EQ(At(0).reading, reading) << "what was given up is the one before";
}

TEST_F(HeldPartitionsTest, WhatIsReadElsewhere_IsAnotherReading) {
  held_.Take(AssignmentOf({{0, 1}}));
  HeldPartition& held = At(0);
  held.is_read = true;
  held.start = Offset(4);
  const uint64_t reading = held.reading;
  v1::Position earliest;
  earliest.set_earliest(true);
  held_.MoveTo(&held, earliest);
  EXPECT_NE(held.reading, reading);
  EXPECT_EQ(held_.Find(reading), nullptr);
  EXPECT_EQ(held_.Find(held.reading), &held);
  EXPECT_FALSE(held.is_read);
  EXPECT_FALSE(held.start.has_value());
  EXPECT_TRUE(held.position.earliest());
}

}  // namespace
}  // namespace millrace::broker

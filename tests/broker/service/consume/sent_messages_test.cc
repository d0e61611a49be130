// What a Consume stream's client was sent, is done with, and commits.
#include "broker/service/consume/sent_messages.h"

#include <string>

#include <gtest/gtest.h>

namespace millrace::broker {
namespace {

TopicPartition PartitionAt(uint32_t partition, uint64_t topic = 1) {
  return {.topic = TopicId(topic), .partition = PartitionId(partition)};
}

SentMessages::ReadTo To(uint64_t reading, int64_t end, uint32_t leader_epoch = 7) {
  return {.reading = reading, .end = Offset(end), .leader_epoch = LeaderEpoch(leader_epoch)};
}

// "TOPIC/PARTITION=OFFSET ..." in order.
std::string Offsets(const v1::OffsetCommit& commit) {
  std::string text;
  for (const v1::TopicCommit& topic : commit.topics()) {
    for (const v1::PartitionCommit& offset : topic.partitions()) {
      text += std::to_string(topic.topic_id()) + "/" + std::to_string(offset.partition()) + "=" +
              std::to_string(offset.offset()) + " ";
    }
  }
  return text;
}

class SentMessagesTest : public testing::Test {
 protected:
  void SetUp() override {
    sent_.Begin(1, PartitionAt(10));
    sent_.Begin(2, PartitionAt(20));
    sent_.Begin(3, PartitionAt(30, 2));
  }
  SentMessages sent_{2'000};
};

TEST_F(SentMessagesTest, ACommit_HasTheNewestOfWhatIsDone_OfEachPartition_Once) {
  sent_.Add(100, {To(1, 5)});
  sent_.Add(100, {To(1, 9, 8), To(2, 4)});
  sent_.Add(100, {To(3, 6)});
  sent_.Add(100, {To(1, 12)});
  ASSERT_TRUE(sent_.Done(3).ok());
  const v1::OffsetCommit commit = sent_.TakeCommit(77);
  EXPECT_EQ(commit.commit_id(), 77U);
  EXPECT_EQ(Offsets(commit), "1/10=9 1/20=4 2/30=6 ");
  EXPECT_EQ(commit.topics(0).partitions(0).leader_epoch(), 8U);
  EXPECT_EQ(Offsets(sent_.TakeCommit(78)), "") << "nothing is done since";
  ASSERT_TRUE(sent_.Done(2).ok()) << "said again";
  EXPECT_EQ(sent_.done(), 3U);
  EXPECT_FALSE(sent_.is_all_done());
  ASSERT_TRUE(sent_.Done(4).ok());
  EXPECT_TRUE(sent_.is_all_done());
  EXPECT_EQ(Offsets(sent_.TakeCommit(79)), "1/10=12 ");
}

TEST_F(SentMessagesTest, WhatIsTheMembersNoMore_IsNotCommitted) {
  sent_.Add(100, {To(1, 5), To(2, 6)});
  ASSERT_TRUE(sent_.Done(1).ok());
  sent_.Add(100, {To(1, 7), To(3, 8)});
  sent_.End(1);
  ASSERT_TRUE(sent_.Done(2).ok());
  EXPECT_EQ(Offsets(sent_.TakeCommit(0)), "1/20=6 2/30=8 ");
}

TEST_F(SentMessagesTest, WhatWasNotTaken_IsPartOfTheNextCommit_UnlessMoreIsDone) {
  sent_.Add(100, {To(1, 5), To(2, 6), To(3, 7)});
  ASSERT_TRUE(sent_.Done(1).ok());
  sent_.TakeCommit(0);
  sent_.SkipCommit();
  sent_.Add(100, {To(1, 9)});
  ASSERT_TRUE(sent_.Done(2).ok());
  sent_.End(3);
  v1::CommitResult result;
  result.mutable_error()->set_code(static_cast<int>(Code::kResourceExhausted));
  sent_.OnResult(result);
  sent_.OnResult(result);  // the client's own
  EXPECT_EQ(Offsets(sent_.TakeCommit(0)), "1/10=9 1/20=6 ");
  sent_.OnResult({});
  EXPECT_EQ(Offsets(sent_.TakeCommit(0)), "");
}

TEST_F(SentMessagesTest, APartitionThatWasRefusedForNow_IsPartOfTheNextCommit_AndForGoodIsNot) {
  sent_.Add(100, {To(1, 5), To(2, 6), To(3, 7)});
  ASSERT_TRUE(sent_.Done(1).ok());
  sent_.TakeCommit(0);
  v1::CommitResult result;
  const auto refuse = [&result](uint64_t topic, uint32_t partition, Code code) {
    v1::RefusedOffset& refused = *result.add_refused();
    refused.set_topic_id(topic);
    refused.set_partition(partition);
    refused.mutable_error()->set_code(static_cast<int>(code));
  };
  refuse(1, 10, Code::kUnavailable);
  refuse(1, 20, Code::kOutOfRange);
  sent_.OnResult(result);
  EXPECT_EQ(Offsets(sent_.TakeCommit(0)), "1/10=5 ");
}

TEST_F(SentMessagesTest, TheWindow_IsFilledByBytes_AndByMessages_AndEmptiedInOrder) {
  EXPECT_TRUE(sent_.has_room());
  sent_.Add(1'999);
  EXPECT_TRUE(sent_.has_room());
  sent_.Add(1, {To(1, 5), To(2, 5)});
  EXPECT_FALSE(sent_.has_room());
  ASSERT_TRUE(sent_.Done(1).ok());
  EXPECT_EQ(sent_.entry_count(), 2U);
  for (int i = 0; i < 2; ++i) sent_.Add(1);
  EXPECT_TRUE(sent_.has_room()) << "three small ones count for 1,536";
  sent_.Add(1);
  EXPECT_FALSE(sent_.has_room());
  ASSERT_TRUE(sent_.Done(5).ok());
  EXPECT_TRUE(sent_.has_room());
  EXPECT_EQ(sent_.entry_count(), 0U);
}

TEST_F(SentMessagesTest, WhatWasNotSent_CannotBeDone) {
  EXPECT_EQ(sent_.next_number(), 1U);
  EXPECT_TRUE(sent_.Done(0).ok());
  const Status status = sent_.Done(1);
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_NE(status.message().find("up_to is 1"), std::string::npos) << status;
  sent_.Add(1);
  EXPECT_EQ(sent_.next_number(), 2U);
  EXPECT_TRUE(sent_.Done(1).ok());
}

TEST(SentMessages, OfVeryManyPartitions_ACommitHasAsManyAsOneMayHave_AndTheNextTheRest) {
  SentMessages sent(1'000);
  std::vector<SentMessages::ReadTo> read;
  for (uint32_t i = 0; i < SentMessages::kCommitPartitionsMax + 5; ++i) {
    sent.Begin(i + 1, PartitionAt(i));
    read.push_back(To(i + 1, 3));
  }
  sent.Add(100, read);
  ASSERT_TRUE(sent.Done(1).ok());
  EXPECT_EQ(sent.TakeCommit(0).topics(0).partitions_size(), 10'000);
  EXPECT_EQ(sent.TakeCommit(0).topics(0).partitions_size(), 5);
}

}  // namespace
}  // namespace millrace::broker

// How far a group is behind, as people are told of it: which partitions count, who has them, and
// pages of them.
#include "broker/coordinator/lag_answer.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "broker/api/request_limits.h"
#include "tests/broker/controller/records.h"
#include "tests/broker/coordinator/member_rig.h"

namespace millrace::broker {
namespace {

constexpr TopicId kOther{2};
constexpr TopicId kGone{3};
constexpr int64_t kNowMs = 1'000'000;

class LagAnswerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(image_.Apply(Created(1, "t", 10, 4)).ok());
    ASSERT_TRUE(image_.Apply(Created(2, "other", 20, 2)).ok());
    ASSERT_TRUE(image_.Apply(Created(3, "gone", 30, 1)).ok());
    ASSERT_TRUE(image_.Apply(Deleted(3, 0)).ok());
  }

  void Commit(TopicId topic, uint32_t partition, int64_t offset) {
    group_.offsets[topic].Commit({.offset = Offset(offset), .partition = PartitionId(partition)},
                                 "");
  }
  template <typename Record>
  void Apply(const Record& record) {
    ASSERT_TRUE(
        group_.membership.Mutable().Apply(record, {.index = LogIndex(1), .time_ms = 1}).ok());
  }
  // Members with these partitions of "t", in a group of that epoch.
  void HaveMembers(const std::vector<std::pair<std::string, std::string>>& members) {
    for (const auto& [id, partitions] : members) Apply(Comes(id, 2));
    const Status applied =
        group_.membership.Mutable().Apply(TargetOf(2, members, 4), 2, {.index = LogIndex(1)});
    ASSERT_TRUE(applied.ok()) << applied;
    for (const auto& [id, partitions] : members) {
      Apply(Has(id, 2, {{2, Partitions(partitions)}}));
    }
    group_.epoch = 2;
  }
  // As its leader told.
  void Measure(TopicId topic, uint32_t partition, Unread unread) {
    LagSample sample{.at_ms = 1, .unread = unread};
    if (const CommittedOffset* committed =
            group_.FindOffset({.topic = topic, .partition = PartitionId(partition)})) {
      sample.committed = committed->offset;
    }
    auto& histories = measured_.topics[topic];
    if (histories.size() <= partition) histories.resize(partition + 1);
    histories[partition].Add(sample);
  }
  void MeasureAll(Unread unread) {
    for (const LagTarget& target : LagTargetsOf(group_, image_)) {
      Measure(target.place.topic, target.place.partition.value(), unread);
    }
  }
  Status Ask(const v1::DescribeLagRequest& request, v1::DescribeLagResponse* response) {
    return AnswerLag(group_, measured_, {.image = image_, .wall_ms = kNowMs}, request, response);
  }
  v1::DescribeLagResponse Answer(bool only_behind = false) {
    v1::DescribeLagRequest request;
    request.set_only_behind(only_behind);
    v1::DescribeLagResponse response;
    const Status status = Ask(request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response;
  }

  Image image_;
  Group group_;
  MeasuredLag measured_;
};

TEST_F(LagAnswerTest, EveryPartition_OfWhatMembersRead_OrOfWhatIsCommitted_Counts) {
  EXPECT_TRUE(LagTargetsOf(group_, image_).empty());
  Commit(kOther, 1, 7);
  HaveMembers({{"a", "0-3"}});
  const std::vector<LagTarget> targets = LagTargetsOf(group_, image_);
  ASSERT_EQ(targets.size(), 6U);
  EXPECT_EQ(targets[0].place, (TopicPartition{kReadTopic, PartitionId(0)}));
  EXPECT_EQ(targets[0].group, RaftGroupId(10));
  EXPECT_EQ(targets[0].committed, nullptr);
  EXPECT_EQ(targets[5].place, (TopicPartition{kOther, PartitionId(1)}));
  EXPECT_EQ(targets[5].group, RaftGroupId(21));
  ASSERT_NE(targets[5].committed, nullptr);
  EXPECT_EQ(targets[5].committed->offset, Offset(7));
}

TEST_F(LagAnswerTest, ATopicThatIsDeleted_IsNotThere) {
  Commit(kGone, 0, 7);
  EXPECT_TRUE(LagTargetsOf(group_, image_).empty());
  const v1::DescribeLagResponse answer = Answer();
  EXPECT_TRUE(answer.topics().empty());
  EXPECT_EQ(answer.total().verdict(), v1::LAG_VERDICT_KEEPING_UP);
  EXPECT_EQ(answer.total().partition_count(), 0U);
}

TEST_F(LagAnswerTest, ARow_HasAllThatIsKnown) {
  Commit(kReadTopic, 1, 4);
  HaveMembers({{"a", "0,1"}, {"b", "2"}});
  Measure(kReadTopic, 1,
          {.log_start = Offset(6),
           .high_watermark = Offset(10),
           .waited_ms_min = 40,
           .waited_ms_max = 41});
  const v1::DescribeLagResponse answer = Answer();
  ASSERT_EQ(answer.topics_size(), 1);
  EXPECT_EQ(answer.topics(0).topic(), "t");
  EXPECT_EQ(answer.topics(0).topic_id(), kReadTopic.value());
  ASSERT_EQ(answer.topics(0).partitions_size(), 1) << "what was not measured is left out";
  const v1::PartitionLag& row = answer.topics(0).partitions(0);
  EXPECT_EQ(row.partition(), 1U);
  EXPECT_EQ(row.member_id(), "a");
  EXPECT_EQ(row.lag(), 4);
  EXPECT_EQ(row.lost(), 2);
  EXPECT_EQ(row.lag_ms_min(), 40);
  EXPECT_EQ(row.lag_ms_max(), 41);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_KEEPING_UP);
  EXPECT_EQ(row.grounds(),
            "4 records behind, oldest 0 s; 2 records went before the group read them");
  EXPECT_EQ(answer.total().lag(), 4);
  EXPECT_EQ(answer.total().lost(), 2);
}

TEST_F(LagAnswerTest, WhoHasAPartition_OrIsToGiveItUp_IsItsOwner) {
  for (uint32_t partition = 0; partition < 4; ++partition) Commit(kReadTopic, partition, 0);
  HaveMembers({{"a", "0"}, {"b", "1"}});
  Apply(Has("b", 2, {{2, Partitions("1")}}, {{1, Partitions("2")}}));
  MeasureAll({.high_watermark = Offset(1)});
  const v1::DescribeLagResponse answer = Answer();
  std::vector<std::string> owners;
  for (const auto& row : answer.topics(0).partitions()) owners.push_back(row.member_id());
  EXPECT_EQ(owners, (std::vector<std::string>{"a", "b", "b", ""}));
  EXPECT_EQ(answer.topics(0).partitions(3).verdict(), v1::LAG_VERDICT_DEAD);
}

TEST_F(LagAnswerTest, AMemberThatWillBeBack_IsAway) {
  Commit(kReadTopic, 0, 0);
  HaveMembers({{"a", "0-3"}});
  internal::v1::MemberChanged left = Comes("a", 2, "instance");
  left.mutable_member()->set_is_away(true);
  Apply(left);
  Measure(kReadTopic, 0, {.high_watermark = Offset(1)});
  const v1::PartitionLag row = Answer().topics(0).partitions(0);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_DEAD);
  EXPECT_EQ(row.grounds(), "1 record behind, oldest 0 s; member a is away, and will be back");
}

TEST_F(LagAnswerTest, WhatNobodyHas_IsNotDead_ForAMinuteAfterTheGroupChanged) {
  Commit(kReadTopic, 3, 0);
  HaveMembers({{"a", "0"}});
  Measure(kReadTopic, 3, {.high_watermark = Offset(1)});
  const auto verdict = [this] { return Answer().topics(0).partitions(0).verdict(); };
  EXPECT_EQ(verdict(), v1::LAG_VERDICT_DEAD) << "the group is stable";
  group_.epoch = 3;
  group_.changed_ms = kNowMs - 59'999;
  EXPECT_EQ(verdict(), v1::LAG_VERDICT_UNSPECIFIED);
  group_.changed_ms = kNowMs - 60'000;
  EXPECT_EQ(verdict(), v1::LAG_VERDICT_DEAD);
}

TEST_F(LagAnswerTest, APartitionWhoseLeaderDidNotAnswer_SaysSo_WhateverWasKnown) {
  Commit(kOther, 0, 3);
  MeasureAll({.high_watermark = Offset(9)});
  measured_.unanswered.emplace(TopicPartition{kOther, PartitionId(0)},
                               Unavailable("nobody leads it"));
  const v1::DescribeLagResponse answer = Answer();
  const v1::PartitionLag& row = answer.topics(0).partitions(0);
  EXPECT_EQ(row.verdict(), v1::LAG_VERDICT_UNSPECIFIED);
  EXPECT_FALSE(row.has_lag());
  EXPECT_EQ(row.grounds(), "its leader did not answer: nobody leads it");
  EXPECT_EQ(answer.total().unknown_count(), 2U) << "in the other one nothing is committed";
}

TEST_F(LagAnswerTest, OnlyWhatIsBehind_LeavesOutTheRest_ButNotOfTheTotal) {
  for (uint32_t partition = 0; partition < 4; ++partition) Commit(kReadTopic, partition, 5);
  MeasureAll({.high_watermark = Offset(5)});
  EXPECT_EQ(Answer().topics(0).partitions_size(), 4);
  EXPECT_TRUE(Answer(true).topics().empty());
  EXPECT_EQ(Answer(true).total().partition_count(), 4U);
}

TEST_F(LagAnswerTest, Pages_HaveEveryPartitionOnce_WithinTheirBytes) {
  ASSERT_TRUE(image_.Apply(Created(4, "wide", 100, 40'000)).ok());
  ASSERT_TRUE(image_.Apply(Created(5, "last", 50'000, 3)).ok());
  Commit(TopicId(4), 0, 0);
  Commit(TopicId(5), 0, 0);
  // Dead, each, or without anything committed.
  MeasureAll({.high_watermark = Offset(1'000'000'000)});
  v1::DescribeLagRequest request;
  std::set<std::pair<std::string, uint32_t>> seen;
  int pages = 0;
  do {
    v1::DescribeLagResponse response;
    ASSERT_TRUE(Ask(request, &response).ok());
    EXPECT_LE(response.ByteSizeLong(), kPageBytesMax);
    EXPECT_EQ(response.total().partition_count(), 40'003U);
    for (const v1::TopicLag& topic : response.topics()) {
      for (const v1::PartitionLag& row : topic.partitions()) {
        EXPECT_TRUE(seen.emplace(topic.topic(), row.partition()).second) << row.partition();
      }
    }
    request.set_page_token(response.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_GT(pages, 1);
  EXPECT_EQ(seen.size(), 40'003U);
  request.set_page_token("1/2");
  v1::DescribeLagResponse response;
  EXPECT_EQ(Ask(request, &response).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace millrace::broker

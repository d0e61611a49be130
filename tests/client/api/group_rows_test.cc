// How far a group is, and what a program asks for, between the library's types and the wire's.
#include "client/api/group_rows.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::internal {
namespace {

v1::TopicOffsets& AddTopic(client::OffsetsSurvey* survey, const std::string& name, uint64_t id) {
  v1::TopicOffsets& topic = *survey->committed.add_topics();
  topic.set_topic(name);
  topic.set_topic_id(id);
  return topic;
}

void AddCommitted(v1::TopicOffsets* topic, uint32_t partition, int64_t offset) {
  v1::GroupOffset& committed = *topic->add_partitions();
  committed.set_partition(partition);
  committed.set_offset(offset);
  committed.set_commit_time_ms(1234);
}

void AddRange(v1::ListOffsetsResponse* ranges, uint32_t partition, int64_t start, int64_t end) {
  v1::PartitionOffsets& range = *ranges->add_partitions();
  range.set_partition(partition);
  range.set_log_start_offset(start);
  range.set_high_watermark(end);
}

TEST(OffsetRows, LagIsFromWhatIsCommitted_AndFromTheStart_WhereThatIsLater) {
  client::OffsetsSurvey survey;
  v1::TopicOffsets& topic = AddTopic(&survey, "t", 7);
  AddCommitted(&topic, 0, 15);
  AddCommitted(&topic, 1, 4);
  v1::ListOffsetsResponse ranges;
  AddRange(&ranges, 0, 10, 20);
  AddRange(&ranges, 1, 10, 20);
  survey.ranges.emplace(7, std::move(ranges));
  const std::vector<GroupOffset> rows = OffsetRowsOf(survey);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].lag, 5);
  EXPECT_EQ(rows[0].lost, 0);
  EXPECT_EQ(rows[0].committed.commit_time_ms, 1234);
  EXPECT_EQ(rows[1].lag, 10) << "what is gone can't be read";
  EXPECT_EQ(rows[1].lost, 6);
}

TEST(OffsetRows, APartitionForWhichNothingIsCommitted_IsShownToo_WithoutALag) {
  client::OffsetsSurvey survey;
  AddCommitted(&AddTopic(&survey, "t", 7), 1, 3);
  v1::ListOffsetsResponse ranges;
  for (uint32_t partition = 0; partition < 3; ++partition) AddRange(&ranges, partition, 0, 9);
  survey.ranges.emplace(7, std::move(ranges));
  const std::vector<GroupOffset> rows = OffsetRowsOf(survey);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].committed.topic, "t");
  EXPECT_EQ(rows[0].committed.topic_id, 7u);
  EXPECT_FALSE(rows[0].committed.offset.has_value());
  EXPECT_FALSE(rows[0].lag.has_value());
  EXPECT_EQ(rows[0].end, 9);
  EXPECT_EQ(rows[1].lag, 6);
}

TEST(OffsetRows, WhatIsCommittedIsTold_WhereItIsNotKnownWhereThePartitionEnds) {
  client::OffsetsSurvey survey;
  AddCommitted(&AddTopic(&survey, "b", 7), 0, 3);
  AddCommitted(&AddTopic(&survey, "a", 8), 0, 4);
  survey.ranges.emplace(7, NotFound("it is gone", Reason::kTopicDeleted));
  v1::ListOffsetsResponse ranges;
  AddRange(&ranges, 0, 0, 0);
  ranges.mutable_partitions(0)->mutable_error()->set_code(static_cast<int>(Code::kUnavailable));
  survey.ranges.emplace(8, std::move(ranges));
  const std::vector<GroupOffset> rows = OffsetRowsOf(survey);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].committed.topic, "a") << "by name, whatever their ids";
  EXPECT_EQ(rows[0].committed.offset, 4);
  EXPECT_EQ(rows[0].status.code(), Code::kUnavailable);
  EXPECT_FALSE(rows[0].lag.has_value());
  EXPECT_EQ(rows[1].committed.offset, 3);
  EXPECT_EQ(rows[1].status.reason(), Reason::kTopicDeleted);
}

TEST(GroupReset, SaysOnceWhereTo) {
  const auto refusal = [](const GroupReset& reset) {
    return RequestOf("g", reset).status().code();
  };
  EXPECT_EQ(refusal({}), Code::kInvalidArgument);
  EXPECT_EQ(refusal({.to = Position::Earliest(), .shift_by = 1}), Code::kInvalidArgument);
  EXPECT_EQ(refusal({.shift_by = 1, .offsets = {{.topic = "t"}}}), Code::kInvalidArgument);
  EXPECT_TRUE(RequestOf("g", {.to = Position::Earliest()})->earliest());
  EXPECT_TRUE(RequestOf("g", {.to = Position::Latest()})->latest());
  EXPECT_EQ(RequestOf("g", {.to = Position::At(5)})->offset(), 5);
  EXPECT_EQ(RequestOf("g", {.to = Position::Time(9)})->timestamp_ms(), 9);
  EXPECT_EQ(RequestOf("g", {.shift_by = -3})->shift_by(), -3);
}

TEST(GroupReset, ATopicsOffsets_AreOneTopicOfTheRequest) {
  const auto request = RequestOf("g", {.offsets = {{.topic = "a", .partition = 2, .offset = 5},
                                                   {.topic = "b", .partition = 0, .offset = 6},
                                                   {.topic = "a", .partition = 1, .offset = 7}}});
  ASSERT_EQ(request->offsets().topics_size(), 2);
  EXPECT_EQ(request->offsets().topics(0).topic(), "a");
  ASSERT_EQ(request->offsets().topics(0).partitions_size(), 2);
  EXPECT_EQ(request->offsets().topics(0).partitions(1).offset(), 7);
}

}  // namespace
}  // namespace millrace::internal

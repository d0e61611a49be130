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

TEST(LagRows, HaveWhatWasTold_ByTopicAndPartition) {
  v1::DescribeLagResponse told;
  v1::GroupLag& total = *told.mutable_total();
  total.set_verdict(v1::LAG_VERDICT_DEAD);
  total.set_grounds("nobody reads");
  total.set_lag(12);
  total.set_lost(3);
  total.set_lag_ms_min(4);
  total.set_lag_ms_max(5);
  total.set_partition_count(6);
  total.set_unknown_count(1);
  for (const char* const name : {"z", "a"}) {
    v1::TopicLag& topic = *told.add_topics();
    topic.set_topic(name);
    topic.set_topic_id(7);
    v1::PartitionLag& row = *topic.add_partitions();
    row.set_partition(2);
    row.set_verdict(v1::LAG_VERDICT_HOT_KEY);
    row.set_grounds("much comes in");
    row.set_member_id("m");
    row.set_lost(1);
    row.set_lag_ms_min(2);
    row.set_lag_ms_max(3);
    row.set_measured_ms(4);
    row.set_came_in(5);
    row.set_read(6);
    row.set_unmoved_ms(7);
  }
  told.mutable_topics(1)->mutable_partitions(0)->set_lag(8);
  const GroupLag lag = LagRowsOf(told);
  EXPECT_EQ(lag.verdict, LagVerdict::kDead);
  EXPECT_EQ(lag.grounds, "nobody reads");
  EXPECT_EQ(lag.lag, 12);
  EXPECT_EQ(lag.lost, 3);
  EXPECT_EQ(lag.lag_time_min.count(), 4);
  EXPECT_EQ(lag.lag_time_max.count(), 5);
  EXPECT_EQ(lag.partition_count, 6U);
  EXPECT_EQ(lag.unknown_count, 1U);
  ASSERT_EQ(lag.partitions.size(), 2U);
  const PartitionLag& row = lag.partitions[0];
  EXPECT_EQ(row.topic, "a");
  EXPECT_EQ(row.topic_id, 7U);
  EXPECT_EQ(row.partition, 2U);
  EXPECT_EQ(row.verdict, LagVerdict::kHotKey);
  EXPECT_EQ(row.grounds, "much comes in");
  EXPECT_EQ(row.member_id, "m");
  EXPECT_EQ(row.lag, 8);
  EXPECT_EQ(row.lost, 1);
  EXPECT_EQ(row.lag_time_min.count(), 2);
  EXPECT_EQ(row.lag_time_max.count(), 3);
  EXPECT_EQ(row.measured.count(), 4);
  EXPECT_EQ(row.came_in, 5);
  EXPECT_EQ(row.read, 6);
  EXPECT_EQ(row.unmoved.count(), 7);
  EXPECT_FALSE(lag.partitions[1].lag.has_value());
}

TEST(LagRows, AVerdictOfALaterVersion_IsNotKnown) {
  v1::DescribeLagResponse told;
  told.mutable_total()->set_verdict(static_cast<v1::LagVerdict>(99));
  EXPECT_EQ(LagRowsOf(told).verdict, LagVerdict::kUnknown);
}

}  // namespace
}  // namespace millrace::internal

#include "client/api/group_rows.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "client/core/error.h"

namespace millrace::internal {
namespace {

CommittedOffset Described(const v1::TopicOffsets& topic, const v1::GroupOffset& committed) {
  CommittedOffset row{.topic = topic.topic(),
                      .topic_id = topic.topic_id(),
                      .partition = committed.partition(),
                      .offset = {},
                      .leader_epoch = committed.leader_epoch(),
                      .metadata = committed.metadata(),
                      .commit_time_ms = committed.commit_time_ms()};
  if (committed.has_offset()) row.offset = committed.offset();
  return row;
}

void Measure(const v1::PartitionOffsets& range, GroupOffset* row) {
  if (range.has_error()) {
    row->status = client::FromError(range.error());
    return;
  }
  row->start = range.log_start_offset();
  row->end = range.high_watermark();
  if (!row->committed.offset.has_value()) return;
  const int64_t committed = *row->committed.offset;
  row->lag = std::max<int64_t>(0, row->end - std::max(committed, row->start));
  row->lost = std::max<int64_t>(0, row->start - committed);
}

std::vector<GroupOffset> RowsOf(const v1::TopicOffsets& topic,
                                const Result<v1::ListOffsetsResponse>& ranges) {
  std::map<uint32_t, GroupOffset> rows;
  for (const v1::GroupOffset& committed : topic.partitions()) {
    rows[committed.partition()] = {.committed = Described(topic, committed),
                                   .status = ranges.status()};
  }
  if (ranges.ok()) {
    for (const v1::PartitionOffsets& range : ranges->partitions()) {
      GroupOffset& row = rows[range.partition()];
      row.committed.topic = topic.topic();
      row.committed.topic_id = topic.topic_id();
      row.committed.partition = range.partition();
      Measure(range, &row);
    }
  }
  std::vector<GroupOffset> sorted;
  sorted.reserve(rows.size());
  for (auto& [partition, row] : rows) sorted.push_back(std::move(row));
  return sorted;
}

LagVerdict VerdictOf(v1::LagVerdict verdict) {
  const int number = verdict;
  const bool is_known = number > 0 && number <= static_cast<int>(LagVerdict::kDead);
  return is_known ? static_cast<LagVerdict>(number) : LagVerdict::kUnknown;
}

PartitionLag Described(const v1::TopicLag& topic, const v1::PartitionLag& in) {
  using std::chrono::milliseconds;
  PartitionLag row{.topic = topic.topic(),
                   .topic_id = topic.topic_id(),
                   .partition = in.partition(),
                   .verdict = VerdictOf(in.verdict()),
                   .grounds = in.grounds(),
                   .member_id = in.member_id(),
                   .lost = in.lost(),
                   .lag_time_min = milliseconds(in.lag_ms_min()),
                   .lag_time_max = milliseconds(in.lag_ms_max()),
                   .measured = milliseconds(in.measured_ms()),
                   .came_in = in.came_in(),
                   .read = in.read(),
                   .unmoved = milliseconds(in.unmoved_ms())};
  if (in.has_lag()) row.lag = in.lag();
  return row;
}

template <typename Row>
auto PlaceOf(const Row& row) {
  return std::tie(row.topic, row.partition);
}
auto PlaceOf(const GroupOffset& row) { return PlaceOf(row.committed); }

template <typename Row>
void Sort(std::vector<Row>* rows) {
  std::sort(rows->begin(), rows->end(),
            [](const Row& a, const Row& b) { return PlaceOf(a) < PlaceOf(b); });
}

void FillPosition(const Position& to, v1::ResetOffsetsRequest* request) {
  switch (to.kind()) {
    case Position::Kind::kEarliest:
      request->set_earliest(true);
      return;
    case Position::Kind::kLatest:
      request->set_latest(true);
      return;
    case Position::Kind::kOffset:
      request->set_offset(to.value());
      return;
    case Position::Kind::kTime:
      request->set_timestamp_ms(to.value());
      return;
  }
}

}  // namespace

std::vector<CommittedOffset> CommittedRowsOf(const v1::FetchOffsetsResponse& fetched) {
  std::vector<CommittedOffset> rows;
  for (const v1::TopicOffsets& topic : fetched.topics()) {
    for (const v1::GroupOffset& committed : topic.partitions()) {
      rows.push_back(Described(topic, committed));
    }
  }
  Sort(&rows);
  return rows;
}

std::vector<GroupOffset> OffsetRowsOf(const client::OffsetsSurvey& survey) {
  std::vector<GroupOffset> all;
  for (const v1::TopicOffsets& topic : survey.committed.topics()) {
    for (GroupOffset& row : RowsOf(topic, survey.ranges.at(topic.topic_id()))) {
      all.push_back(std::move(row));
    }
  }
  Sort(&all);
  return all;
}

GroupLag LagRowsOf(const v1::DescribeLagResponse& described) {
  const v1::GroupLag& total = described.total();
  GroupLag lag{.verdict = VerdictOf(total.verdict()),
               .grounds = total.grounds(),
               .lag = total.lag(),
               .lost = total.lost(),
               .lag_time_min = std::chrono::milliseconds(total.lag_ms_min()),
               .lag_time_max = std::chrono::milliseconds(total.lag_ms_max()),
               .partition_count = total.partition_count(),
               .unknown_count = total.unknown_count()};
  for (const v1::TopicLag& topic : described.topics()) {
    for (const v1::PartitionLag& row : topic.partitions()) {
      lag.partitions.push_back(Described(topic, row));
    }
  }
  Sort(&lag.partitions);
  return lag;
}

std::vector<MovedOffset> MovedRowsOf(const v1::ResetOffsetsResponse& reset) {
  std::vector<MovedOffset> rows;
  for (const v1::ResetOffset& moved : reset.offsets()) {
    MovedOffset row{.topic = moved.topic(),
                    .topic_id = moved.topic_id(),
                    .partition = moved.partition(),
                    .after = moved.after()};
    if (moved.has_error()) row.status = client::FromError(moved.error());
    if (moved.has_before()) row.before = moved.before();
    rows.push_back(std::move(row));
  }
  Sort(&rows);
  return rows;
}

void FillCommits(const std::vector<OffsetCommit>& offsets,
                 google::protobuf::RepeatedPtrField<v1::TopicCommit>* out) {
  std::map<std::string, v1::TopicCommit> topics;
  for (const OffsetCommit& offset : offsets) {
    v1::TopicCommit& topic = topics[offset.topic];
    topic.set_topic(offset.topic);
    v1::PartitionCommit& commit = *topic.add_partitions();
    commit.set_partition(offset.partition);
    commit.set_offset(offset.offset);
    commit.set_leader_epoch(offset.leader_epoch);
    commit.set_metadata(offset.metadata);
  }
  for (auto& [name, topic] : topics) *out->Add() = std::move(topic);
}

void FillPartitions(const TopicPartitions& partitions,
                    google::protobuf::RepeatedPtrField<v1::TopicPartitions>* out) {
  for (const auto& [name, numbers] : partitions) {
    v1::TopicPartitions& topic = *out->Add();
    topic.set_topic(name);
    *topic.mutable_partitions() = {numbers.begin(), numbers.end()};
  }
}

Result<v1::ResetOffsetsRequest> RequestOf(const std::string& group, const GroupReset& reset) {
  const int ways = static_cast<int>(reset.to.has_value()) +
                   static_cast<int>(reset.shift_by.has_value()) +
                   static_cast<int>(!reset.offsets.empty());
  if (ways != 1) {
    return InvalidArgument("a reset takes one of to, shift_by and offsets, not " +
                           std::string(ways == 0 ? "none" : "several"));
  }
  v1::ResetOffsetsRequest request;
  request.set_group(group);
  request.set_is_dry_run(reset.is_dry_run);
  FillPartitions(reset.topics, request.mutable_topics());
  if (reset.to.has_value()) {
    FillPosition(*reset.to, &request);
  } else if (reset.shift_by.has_value()) {
    request.set_shift_by(*reset.shift_by);
  } else {
    FillCommits(reset.offsets, request.mutable_offsets()->mutable_topics());
  }
  return request;
}

}  // namespace millrace::internal

#include "millrace/groups.h"

#include <algorithm>
#include <utility>

#include "client/api/group_rows.h"
#include "client/api/kind_of.h"
#include "client/api/runtime.h"
#include "client/core/error.h"

namespace millrace {
namespace {

using internal::KindOf;

GroupListing Described(const v1::ListedGroup& listed) {
  return {.group = listed.group(),
          .state = KindOf(listed.state(), GroupState::kRebalancing),
          .member_count = listed.member_count(),
          .offset_count = listed.offset_count()};
}

TopicPartitions Described(const google::protobuf::RepeatedPtrField<v1::TopicPartitions>& topics) {
  TopicPartitions partitions;
  for (const v1::TopicPartitions& topic : topics) {
    const std::string name =
        topic.topic().empty() ? std::to_string(topic.topic_id()) : topic.topic();
    partitions[name].assign(topic.partitions().begin(), topic.partitions().end());
  }
  return partitions;
}

GroupMember Described(const v1::DescribedMember& member) {
  return {.id = member.member_id(),
          .instance_id = member.instance_id(),
          .client_id = member.client_id(),
          .client_host = member.client_host(),
          .state = KindOf(member.state(), MemberState::kAway),
          .epoch = member.member_epoch(),
          .assigned = Described(member.assigned()),
          .revoking = Described(member.revoking()),
          .topic_count = member.topic_count(),
          .pattern = member.pattern(),
          .rack = member.rack(),
          .session_timeout = std::chrono::milliseconds(member.session_timeout_ms())};
}

GroupEvent Described(const v1::GroupEvent& event) {
  return {.kind = KindOf(event.kind(), GroupEventKind::kTopicsChanged),
          .epoch = event.epoch(),
          .time_ms = event.time_ms(),
          .member_id = event.member_id(),
          .instance_id = event.instance_id()};
}

}  // namespace

Groups::Groups(std::shared_ptr<internal::Runtime> runtime) : runtime_(std::move(runtime)) {}
Groups::~Groups() = default;

Result<std::vector<GroupListing>> Groups::ListGroups(const std::string& prefix,
                                                     std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::ListGroupsResponse response,
                   runtime_->Await<v1::ListGroupsResponse>([&](auto done) {
                     client::ListGroups(runtime_->client(), prefix, internal::Bounded(timeout),
                                        std::move(done));
                   }));
  std::vector<GroupListing> groups;
  for (const v1::ListedGroup& listed : response.groups()) groups.push_back(Described(listed));
  std::sort(groups.begin(), groups.end(),
            [](const GroupListing& a, const GroupListing& b) { return a.group < b.group; });
  return groups;
}

Result<GroupDescription> Groups::DescribeGroup(const std::string& group,
                                               std::chrono::milliseconds timeout) {
  v1::DescribeGroupRequest request;
  request.set_group(group);
  ASSIGN_OR_RETURN(const v1::DescribeGroupResponse response,
                   runtime_->Await<v1::DescribeGroupResponse>([&](auto done) {
                     client::DescribeGroup(runtime_->client(), request, internal::Bounded(timeout),
                                           std::move(done));
                   }));
  GroupDescription description{.group = Described(response.group()),
                               .epoch = response.epoch(),
                               .changed_ms = response.changed_ms(),
                               .coordinator_id = response.coordinator_id(),
                               .shard = response.shard(),
                               .assignor = response.assignor(),
                               .unowned = Described(response.unowned())};
  for (const auto& member : response.members()) description.members.push_back(Described(member));
  for (const auto& event : response.events()) description.events.push_back(Described(event));
  return description;
}

Result<std::vector<RefusedOffset>> Groups::CommitOffsets(const std::string& group,
                                                         const std::vector<OffsetCommit>& offsets,
                                                         std::chrono::milliseconds timeout) {
  v1::CommitOffsetsRequest request;
  request.set_group(group);
  internal::FillCommits(offsets, request.mutable_topics());
  ASSIGN_OR_RETURN(const v1::CommitOffsetsResponse response,
                   runtime_->Await<v1::CommitOffsetsResponse>([&](auto done) {
                     client::CommitOffsets(runtime_->client(), request, internal::Bounded(timeout),
                                           std::move(done));
                   }));
  std::vector<RefusedOffset> refused;
  for (const v1::RefusedOffset& row : response.refused()) {
    refused.push_back({.topic = row.topic(),
                       .partition = row.partition(),
                       .status = client::FromError(row.error())});
  }
  return refused;
}

Result<std::vector<CommittedOffset>> Groups::FetchOffsets(const std::string& group,
                                                          const TopicPartitions& partitions,
                                                          std::chrono::milliseconds timeout) {
  v1::FetchOffsetsRequest request;
  request.set_group(group);
  internal::FillPartitions(partitions, request.mutable_topics());
  ASSIGN_OR_RETURN(const v1::FetchOffsetsResponse response,
                   runtime_->Await<v1::FetchOffsetsResponse>([&](auto done) {
                     client::FetchOffsets(runtime_->client(), request, internal::Bounded(timeout),
                                          std::move(done));
                   }));
  return internal::CommittedRowsOf(response);
}

Result<std::vector<GroupOffset>> Groups::DescribeOffsets(const std::string& group,
                                                         const std::vector<std::string>& topics,
                                                         std::chrono::milliseconds timeout) {
  v1::FetchOffsetsRequest request;
  request.set_group(group);
  for (const std::string& topic : topics) request.add_topics()->set_topic(topic);
  ASSIGN_OR_RETURN(const client::OffsetsSurvey survey,
                   runtime_->Await<client::OffsetsSurvey>([&](auto done) {
                     client::SurveyOffsets(runtime_->client(), request, internal::Bounded(timeout),
                                           std::move(done));
                   }));
  return internal::OffsetRowsOf(survey);
}

Result<GroupLag> Groups::DescribeLag(const std::string& group, LagRows rows,
                                     std::chrono::milliseconds timeout) {
  v1::DescribeLagRequest request;
  request.set_group(group);
  request.set_only_behind(rows == LagRows::kBehind);
  ASSIGN_OR_RETURN(const v1::DescribeLagResponse response,
                   runtime_->Await<v1::DescribeLagResponse>([&](auto done) {
                     client::DescribeLag(runtime_->client(), request, internal::Bounded(timeout),
                                         std::move(done));
                   }));
  return internal::LagRowsOf(response);
}

Result<std::vector<MovedOffset>> Groups::ResetOffsets(const std::string& group,
                                                      const GroupReset& reset,
                                                      std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(const v1::ResetOffsetsRequest request, internal::RequestOf(group, reset));
  ASSIGN_OR_RETURN(const v1::ResetOffsetsResponse response,
                   runtime_->Await<v1::ResetOffsetsResponse>([&](auto done) {
                     client::ResetOffsets(runtime_->client(), request, internal::Bounded(timeout),
                                          std::move(done));
                   }));
  return internal::MovedRowsOf(response);
}

Result<uint32_t> Groups::DeleteOffsets(const std::string& group, const TopicPartitions& partitions,
                                       std::chrono::milliseconds timeout) {
  v1::DeleteOffsetsRequest request;
  request.set_group(group);
  internal::FillPartitions(partitions, request.mutable_topics());
  ASSIGN_OR_RETURN(const v1::DeleteOffsetsResponse response,
                   runtime_->Await<v1::DeleteOffsetsResponse>([&](auto done) {
                     client::DeleteOffsets(runtime_->client(), request, internal::Bounded(timeout),
                                           std::move(done));
                   }));
  return response.deleted_count();
}

Status Groups::DeleteGroup(const std::string& group, std::chrono::milliseconds timeout) {
  v1::DeleteGroupRequest request;
  request.set_group(group);
  return runtime_
      ->Await<v1::DeleteGroupResponse>([&](auto done) {
        client::DeleteGroup(runtime_->client(), request, internal::Bounded(timeout),
                            std::move(done));
      })
      .status();
}

}  // namespace millrace

#include "broker/coordinator/description.h"

#include <algorithm>
#include <iterator>

#include "broker/coordinator/requests.h"

namespace millrace::broker {
namespace {

using FilledPartitions = google::protobuf::RepeatedPtrField<v1::TopicPartitions>;

void Fill(const Assignment& assignment, const Image& image, FilledPartitions* out) {
  for (const auto& [id, partitions] : assignment) {
    v1::TopicPartitions& topic = *out->Add();
    topic.set_topic_id(id.value());
    if (const TopicInfo* info = image.FindTopic(id)) topic.set_topic(info->name);
    for (const PartitionId partition : partitions) topic.add_partitions(partition.value());
  }
}

v1::MemberState StateOf(const Membership& membership, const Member& member) {
  if (member.info.is_away()) return v1::MEMBER_STATE_AWAY;
  if (!member.revoking.empty()) return v1::MEMBER_STATE_REVOKING;
  const bool has_all =
      member.epoch >= membership.target_epoch() && PartitionsOf(member.assigned) == member.target;
  return has_all ? v1::MEMBER_STATE_STABLE : v1::MEMBER_STATE_WAITING;
}

v1::GroupState StateOf(const Group& group) {
  const Membership& membership = *group.membership;
  if (membership.empty()) return v1::GROUP_STATE_EMPTY;
  if (group.epoch > membership.target_epoch()) return v1::GROUP_STATE_REBALANCING;
  const bool is_stable = std::ranges::all_of(membership.members(), [&](const auto& member) {
    const v1::MemberState state = StateOf(membership, *member.second);
    return state == v1::MEMBER_STATE_STABLE || state == v1::MEMBER_STATE_AWAY;
  });
  return is_stable ? v1::GROUP_STATE_STABLE : v1::GROUP_STATE_REBALANCING;
}

void FillMember(const Membership& membership, const Member& member, const Image& image,
                v1::DescribedMember* out) {
  const internal::v1::MemberInfo& info = member.info;
  out->set_member_id(info.member_id());
  out->set_instance_id(info.instance_id());
  out->set_client_id(info.client_id());
  out->set_client_host(info.client_host());
  out->set_state(StateOf(membership, member));
  out->set_member_epoch(static_cast<int32_t>(member.epoch));
  Fill(PartitionsOf(member.assigned), image, out->mutable_assigned());
  Fill(PartitionsOf(member.revoking), image, out->mutable_revoking());
  int topics = info.subscription().topics_size();
  for (const v1::TopicSet& set : info.subscription().topic_sets()) topics += set.topics_size();
  out->set_topic_count(static_cast<uint32_t>(topics));
  out->set_pattern(info.subscription().pattern());
  out->set_rack(info.rack());
  out->set_session_timeout_ms(info.session_timeout_ms());
}

// What the members subscribe to, as the last target knew it.
Assignment SubscribedOf(const Membership& membership) {
  Assignment all;
  for (const auto& [id, topic] : membership.topics()) {
    if (topic.partition_count == 0) continue;
    all[id].Add({.first = PartitionId(0), .end = PartitionId(topic.partition_count)});
  }
  return all;
}

}  // namespace

void FillListed(const std::string& name, const Group& group, v1::ListedGroup* out) {
  out->set_group(name);
  out->set_kind(v1::GROUP_KIND_LOG);
  out->set_state(StateOf(group));
  out->set_member_count(static_cast<uint32_t>(group.membership->members().size()));
  out->set_offset_count(static_cast<uint32_t>(group.offset_count()));
}

Status AnswerDescribe(const ShardState& state, const Image& image,
                      const v1::DescribeGroupRequest& request,
                      v1::DescribeGroupResponse* response) {
  const Group* group = state.Find(request.group());
  if (group == nullptr) return UnknownGroup(request.group());
  const Membership& membership = *group->membership;
  FillListed(request.group(), *group, response->mutable_group());
  response->set_epoch(group->epoch);
  response->set_changed_ms(group->changed_ms);
  response->set_assignor(membership.assignor());
  for (const auto& [id, member] : membership.members()) {
    FillMember(membership, *member, image, response->add_members());
  }
  if (!membership.empty()) {
    Fill(Difference(SubscribedOf(membership), membership.held()), image,
         response->mutable_unowned());
  }
  for (const v1::GroupEvent& event : membership.events()) *response->add_events() = event;
  return {};
}

}  // namespace millrace::broker

#include "broker/coordinator/membership.h"

#include <utility>
#include <vector>

namespace millrace::broker {

using internal::v1::MemberAssigned;
using internal::v1::MemberChanged;
using internal::v1::MemberInfo;
using internal::v1::MemberRemoved;
using internal::v1::SavedMember;
using internal::v1::SavedMembership;
using internal::v1::TargetComputed;
using v1::GroupEvent;
using v1::GroupEventKind;

namespace {

constexpr size_t kEventsMax = 64;
// What a node of a map costs beside what it holds.
constexpr size_t kNodeBytes = 64;

Status DoesNotFollow(const std::string& what) {
  return DataLoss("a coordinator's record does not follow from those before it: " + what);
}

size_t BytesOf(const Member& member) {
  return kNodeBytes + sizeof(Member) + member.info.ByteSizeLong() + BytesOf(member.target) +
         BytesOf(member.assigned) + BytesOf(member.revoking);
}

size_t BytesOf(const GroupEvent& event) { return sizeof(GroupEvent) + event.ByteSizeLong(); }

bool AreApart(const Holdings& a, const Holdings& b) {
  return Intersection(PartitionsOf(a), PartitionsOf(b)).empty();
}

Status CheckInfo(const MemberInfo& info) {
  if (info.member_id().empty()) return DataLoss("a coordinator's member has no id");
  if (info.has_native()) return {};
  return Unimplemented("member \"" + info.member_id() +
                       "\" of a group takes part in a way that this version does not know");
}

// Not ok: the member would go back, or have something since an epoch that it has not reached.
Status CheckEpochs(const MemberAssigned& assigned, const Member& known) {
  bool is_right = assigned.member_epoch() >= known.epoch;
  for (const SavedHoldings* holdings : {&assigned.assigned(), &assigned.revoking()}) {
    for (const internal::v1::HeldRuns& held : *holdings) {
      is_right = is_right && held.assigned_epoch() <= assigned.member_epoch();
    }
  }
  if (is_right) return {};
  return DoesNotFollow("the epochs of member \"" + assigned.member_id() + "\"");
}

}  // namespace

const Member* Membership::Find(std::string_view member_id) const {
  const auto found = members_.find(member_id);
  return found == members_.end() ? nullptr : &*found->second;
}

const Member* Membership::FindInstance(std::string_view instance_id) const {
  for (const auto& [id, member] : members_) {
    if (member->info.instance_id() == instance_id) return &*member;
  }
  return nullptr;
}

template <typename Change>
void Membership::ChangeMember(const std::string& member_id, Change change) {
  Member& member = members_[member_id].Mutable();
  bytes_ -= member.info.member_id().empty() ? 0 : BytesOf(member);
  held_ = Difference(held_, PartitionsOf(member.held()));
  change(member);
  held_ = Union(held_, PartitionsOf(member.held()));
  bytes_ += BytesOf(member);
}

void Membership::Erase(std::string_view member_id) {
  const auto found = members_.find(member_id);
  bytes_ -= BytesOf(*found->second);
  held_ = Difference(held_, PartitionsOf(found->second->held()));
  members_.erase(found);
}

void Membership::AddEvent(GroupEventKind kind, uint32_t epoch, const Place& place,
                          const MemberInfo* member) {
  GroupEvent event;
  event.set_kind(kind);
  event.set_epoch(epoch);
  event.set_time_ms(place.time_ms);
  if (member != nullptr) {
    event.set_member_id(member->member_id());
    event.set_instance_id(member->instance_id());
  }
  bytes_ += BytesOf(event);
  events_.push_back(std::move(event));
  if (events_.size() <= kEventsMax) return;
  bytes_ -= BytesOf(events_.front());
  events_.pop_front();
}

Status Membership::Apply(const MemberChanged& changed, const Place& place) {
  const MemberInfo& info = changed.member();
  RETURN_IF_ERROR(CheckInfo(info));
  const Member* known = Find(info.member_id());
  if (!changed.replaced_member_id().empty()) {
    const Member* replaced = Find(changed.replaced_member_id());
    if (replaced == nullptr || known != nullptr) {
      return DoesNotFollow("member \"" + info.member_id() + "\" in the place of \"" +
                           changed.replaced_member_id() + "\"");
    }
    Member member = *replaced;
    Erase(changed.replaced_member_id());
    ChangeMember(info.member_id(), [&](Member& out) {
      out = std::move(member);
      out.info = info;
      out.epoch = changed.epoch();
      out.assigned_index = place.index;
    });
    AddEvent(v1::GROUP_EVENT_KIND_REPLACED, changed.epoch(), place, &info);
    return {};
  }
  const bool is_event = known == nullptr || !WishTheSame(known->info, info);
  const GroupEventKind kind =
      known == nullptr ? v1::GROUP_EVENT_KIND_JOINED : v1::GROUP_EVENT_KIND_CHANGED;
  ChangeMember(info.member_id(), [&](Member& member) {
    if (known == nullptr) {
      member.epoch = changed.epoch();
      member.assigned_index = place.index;
    }
    member.info = info;
  });
  if (is_event) AddEvent(kind, changed.epoch(), place, &info);
  return {};
}

Status Membership::Apply(const MemberRemoved& removed, const Place& place) {
  const Member* member = Find(removed.member_id());
  if (member == nullptr) return DoesNotFollow("member \"" + removed.member_id() + "\" is removed");
  AddEvent(removed.reason(), removed.epoch(), place, &member->info);
  Erase(removed.member_id());
  return {};
}

Status Membership::Apply(const TargetComputed& target, uint32_t group_epoch, const Place& place) {
  std::vector<std::pair<std::string, Assignment>> changes;
  for (const internal::v1::MemberTarget& one : target.members()) {
    ASSIGN_OR_RETURN(Assignment assignment, LoadAssignment(one.topics()));
    if (Find(one.member_id()) == nullptr) {
      return DoesNotFollow("a target for member \"" + one.member_id() + "\"");
    }
    changes.emplace_back(one.member_id(), std::move(assignment));
  }
  for (auto& [member_id, assignment] : changes) {
    ChangeMember(member_id, [&](Member& member) { member.target = std::move(assignment); });
  }
  target_epoch_ = target.epoch();
  bytes_ += target.assignor().size() - assignor_.size();
  assignor_ = target.assignor();
  std::map<TopicId, SubscribedTopic> topics;
  for (const internal::v1::TargetTopic& topic : target.topics()) {
    const TopicId id(topic.topic_id());
    const auto known = topics_.find(id);
    topics[id] = {.partition_count = topic.partition_count(),
                  .first_partition_count = known == topics_.end()
                                               ? topic.partition_count()
                                               : known->second.first_partition_count};
  }
  bytes_ += (topics.size() - topics_.size()) * kNodeBytes;
  topics_ = std::move(topics);
  if (target.epoch() > group_epoch) {
    AddEvent(v1::GROUP_EVENT_KIND_TOPICS_CHANGED, target.epoch(), place, nullptr);
  }
  return {};
}

Status Membership::Apply(const MemberAssigned& assigned, const Place& place) {
  const Member* known = Find(assigned.member_id());
  if (known == nullptr) {
    return DoesNotFollow("something for member \"" + assigned.member_id() + "\"");
  }
  RETURN_IF_ERROR(CheckEpochs(assigned, *known));
  ASSIGN_OR_RETURN(Holdings has, LoadHoldings(assigned.assigned()));
  ASSIGN_OR_RETURN(Holdings revoking, LoadHoldings(assigned.revoking()));
  const Assignment of_others = Difference(held_, PartitionsOf(known->held()));
  const Assignment all = PartitionsOf(Union(has, revoking));
  if (!AreApart(has, revoking) || !Intersection(all, of_others).empty()) {
    return DoesNotFollow("member \"" + assigned.member_id() + "\" gets what another one has");
  }
  ChangeMember(assigned.member_id(), [&](Member& member) {
    member.epoch = assigned.member_epoch();
    member.assigned_index = place.index;
    member.assigned = std::move(has);
    member.revoking = std::move(revoking);
  });
  return {};
}

void Membership::SaveTo(SavedMembership* saved) const {
  saved->set_target_epoch(target_epoch_);
  saved->set_assignor(assignor_);
  for (const auto& [id, topic] : topics_) {
    auto& out = *saved->add_topics();
    out.set_topic_id(id.value());
    out.set_partition_count(topic.partition_count);
    out.set_first_partition_count(topic.first_partition_count);
  }
  for (const auto& [id, member] : members_) {
    SavedMember& out = *saved->add_members();
    *out.mutable_info() = member->info;
    out.set_epoch(member->epoch);
    out.set_assigned_index(member->assigned_index.value());
    Save(member->assigned, out.mutable_assigned());
    Save(member->revoking, out.mutable_revoking());
    Save(member->target, out.mutable_target());
  }
  for (const GroupEvent& event : events_) *saved->add_events() = event;
}

Result<Membership> Membership::LoadFrom(const SavedMembership& saved) {
  Membership membership;
  membership.target_epoch_ = saved.target_epoch();
  membership.assignor_ = saved.assignor();
  membership.bytes_ = saved.assignor().size();
  for (const auto& topic : saved.topics()) {
    membership.topics_[TopicId(topic.topic_id())] = {
        .partition_count = topic.partition_count(),
        .first_partition_count = topic.first_partition_count()};
  }
  membership.bytes_ += membership.topics_.size() * kNodeBytes;
  for (const SavedMember& one : saved.members()) {
    RETURN_IF_ERROR(CheckInfo(one.info()));
    Member member{
        .info = one.info(), .epoch = one.epoch(), .assigned_index = LogIndex(one.assigned_index())};
    ASSIGN_OR_RETURN(member.assigned, LoadHoldings(one.assigned()));
    ASSIGN_OR_RETURN(member.revoking, LoadHoldings(one.revoking()));
    ASSIGN_OR_RETURN(member.target, LoadAssignment(one.target()));
    const bool is_new = membership.Find(one.info().member_id()) == nullptr;
    if (!is_new || !AreApart(member.assigned, member.revoking) ||
        !Intersection(membership.held_, PartitionsOf(member.held())).empty()) {
      return DataLoss("a coordinator's state has member \"" + one.info().member_id() +
                      "\", or what it has, twice");
    }
    membership.ChangeMember(one.info().member_id(), [&](Member& out) { out = std::move(member); });
  }
  for (const GroupEvent& event : saved.events()) {
    membership.bytes_ += BytesOf(event);
    membership.events_.push_back(event);
  }
  return membership;
}

bool WishTheSame(const MemberInfo& a, const MemberInfo& b) {
  return a.subscription().SerializeAsString() == b.subscription().SerializeAsString() &&
         a.rack() == b.rack() && a.assignor() == b.assignor() && a.instance_id() == b.instance_id();
}

}  // namespace millrace::broker

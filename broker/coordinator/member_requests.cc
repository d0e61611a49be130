#include "broker/coordinator/member_requests.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "broker/controller/decide.h"
#include "broker/coordinator/assignor.h"
#include "broker/coordinator/reconcile.h"
#include "broker/coordinator/target.h"
#include "proto/base/mutants.h"

namespace millrace::broker {

using internal::v1::CoordinatorRecords;
using internal::v1::MemberInfo;
using internal::v1::MemberReply;
using internal::v1::MemberRequest;
using internal::v1::TargetComputed;

namespace {

std::string NameOf(const std::string& group, const std::string& member_id) {
  return "member \"" + member_id + "\" of group \"" + group + "\"";
}

Status Fenced(const MemberRequest& request, const std::string& why) {
  return Aborted(NameOf(request.group(), request.member_id()) + " " + why, Reason::kMemberFenced);
}

Status CheckTimeout(uint32_t ms, std::string_view what) {
  if (ms >= kMemberTimeoutMsMin && ms <= kMemberTimeoutMsMax) return {};
  return InvalidArgument(std::string(what) + " is " + std::to_string(ms) + ", not " +
                         std::to_string(kMemberTimeoutMsMin) + " to " +
                         std::to_string(kMemberTimeoutMsMax));
}

Status CheckShort(const std::string& text, std::string_view what) {
  return text.empty() ? Status::Ok() : CheckId(text, what);
}

// Not ok: no record could say it.
Status CheckIsKnown(const MemberRequest& request) {
  const MemberInfo& info = request.info();
  const std::string name = NameOf(request.group(), request.member_id());
  if (info.member_id() != request.member_id()) {
    return InvalidArgument("what " + name + " says of itself is of member \"" + info.member_id() +
                           "\"");
  }
  if (!info.has_native()) {
    return Unimplemented(name + " takes part in a way that this version does not know");
  }
  return {};
}

Status CheckProducer(const v1::MemberProducer& producer) {
  RETURN_IF_ERROR(CheckId(producer.transactional_id(), "producer: transactional_id"));
  if (producer.producer_id() == 0) return InvalidArgument("producer: producer_id is 0");
  if (producer.producer_epoch() == 0) {
    return InvalidArgument("producer: producer_epoch is 0; the first one is 1");
  }
  return {};
}

Status CheckInfo(const MemberInfo& info) {
  RETURN_IF_ERROR(CheckShort(info.instance_id(), "instance_id"));
  RETURN_IF_ERROR(CheckShort(info.rack(), "rack"));
  RETURN_IF_ERROR(CheckShort(info.client_id(), "client_id"));
  if (info.has_producer()) RETURN_IF_ERROR(CheckProducer(info.producer()));
  RETURN_IF_ERROR(CheckShort(info.subscription().digest(), "digest"));
  RETURN_IF_ERROR(CheckTimeout(info.session_timeout_ms(), "session_timeout_ms"));
  RETURN_IF_ERROR(CheckTimeout(info.revoke_timeout_ms(), "revoke_timeout_ms"));
  if (!info.assignor().empty()) RETURN_IF_ERROR(FindAssignor(info.assignor()).status());
  return CheckSubscription(info.subscription());
}

Status CheckOwned(const MemberRequest& request) {
  for (const v1::OwnedPartitions& topic : request.owned().topics()) {
    for (const uint32_t partition : topic.partitions()) {
      if (partition < kPartitionCountMax) continue;
      return InvalidArgument("partition " + std::to_string(partition) +
                             " is owned, and no topic has more than " +
                             std::to_string(kPartitionCountMax));
    }
  }
  return {};
}

std::optional<Assignment> OwnedIn(const MemberRequest& request) {
  if (!request.has_owned()) return std::nullopt;
  Assignment owned;
  for (const v1::OwnedPartitions& topic : request.owned().topics()) {
    // In order they are quickly added.
    std::vector<uint32_t> partitions(topic.partitions().begin(), topic.partitions().end());
    std::sort(partitions.begin(), partitions.end());
    for (const uint32_t partition : partitions) {
      owned[TopicId(topic.topic_id())].Add(PartitionId(partition));
    }
  }
  return owned;
}

// As a record has it: it is there, in the request's stream.
MemberInfo InfoIn(const MemberRequest& request) {
  MemberInfo info = request.info();
  info.set_session(request.session());
  info.set_is_away(false);
  return info;
}

// A decision on one group's members: its records, and the state after them.
class MemberDecision {
 public:
  MemberDecision(const ShardState& state, const std::string& name)
      : name_(name), group_(state.Find(name)), epoch_floor_(state.epoch_floor()) {
    if (group_ == nullptr) return;
    ahead_ = group_->membership;
    staged_ = group_->StagedPartitions();
  }

  const Group* group() const { return group_; }
  const Membership& membership() const { return *ahead_; }
  uint32_t epoch() const { return group_ == nullptr ? epoch_floor_ : group_->epoch; }

  void Change(MemberInfo info, bool raises_epoch, const std::string& replaced = "") {
    auto& changed = *records_.add_records()->mutable_member_changed();
    changed.set_group(name_);
    changed.set_epoch(epoch() + (raises_epoch ? 1 : 0));
    *changed.mutable_member() = std::move(info);
    changed.set_replaced_member_id(replaced);
    MustApply(ahead_.Mutable().Apply(changed, {}));
  }
  void Remove(const std::string& member_id, v1::GroupEventKind reason) {
    auto& removed = *records_.add_records()->mutable_member_removed();
    removed.set_group(name_);
    removed.set_epoch(epoch() + 1);
    removed.set_member_id(member_id);
    removed.set_reason(reason);
    MustApply(ahead_.Mutable().Apply(removed, {}));
  }
  // Of the group. Pre: no later record has a lower one.
  void SetEpoch(uint32_t epoch) {
    auto& changed = *records_.add_records()->mutable_group_changed();
    changed.set_group(name_);
    changed.set_kind(internal::v1::GROUP_KIND_LOG);
    changed.set_epoch(epoch);
  }
  void SetTarget(TargetComputed target) {
    target.set_group(name_);
    MustApply(ahead_.Mutable().Apply(target, epoch(), {}));
    *records_.add_records()->mutable_target_computed() = std::move(target);
  }
  void Say(const std::string& member_id, const MemberSays& says) {
    auto step = NextStep(*ahead_, staged_, *ahead_->Find(member_id), says);
    if (!step.has_value()) return;
    step->set_group(name_);
    MustApply(ahead_.Mutable().Apply(*step, {}));
    *records_.add_records()->mutable_member_assigned() = *std::move(step);
  }
  CoordinatorRecords Finish() && {
    if (records_.records().empty()) return {};
    return std::move(*this).FinishAnyway();
  }
  // Where something else than what was decided lets members go on.
  CoordinatorRecords FinishAnyway() && {
    Advance(name_, {}, staged_, &ahead_.Mutable(), &records_);
    return std::move(records_);
  }

 private:
  static void MustApply(const Status& applied) {
    CHECK(applied.ok()) << applied;  // it was decided on this very state
  }

  const std::string name_;
  const Group* group_;
  const uint32_t epoch_floor_;
  CopyOnWrite<Membership> ahead_;  // what nothing changes costs no copy
  Staged staged_;
  CoordinatorRecords records_;
};

// Not ok: a member that says this of itself cannot be one of the group.
Status CheckFits(const Membership& membership, const MemberRequest& request) {
  for (const auto& [id, member] : membership.members()) {
    const std::string& digest = member->info.subscription().digest();
    if (id == request.member_id() || digest == request.info().subscription().digest()) continue;
    return FailedPrecondition(NameOf(request.group(), request.member_id()) +
                              " has another digest than member \"" + id + "\"");
  }
  return {};
}

// Who has the instance_id; null if nobody has, or there is none.
const Member* InstanceIn(const Membership& membership, const MemberRequest& request) {
  const std::string& instance = request.info().instance_id();
  return instance.empty() ? nullptr : membership.FindInstance(instance);
}

Status IsInUse(const MemberRequest& request, const std::string& member_id) {
  return FailedPrecondition("instance_id \"" + request.info().instance_id() + "\" of group \"" +
                                request.group() + "\" is in use by member \"" + member_id + "\"",
                            Reason::kInstanceIdInUse);
}

Status DecideNew(const CoordinatorCircumstances& now, const MemberRequest& request,
                 const std::function<bool(const std::string&)>& pings, MemberDecision* decision) {
  const Membership& membership = decision->membership();
  if (request.member_epoch() != kMemberComes || !request.has_info()) {
    return Fenced(request, "is not known: it was taken out");
  }
  RETURN_IF_ERROR(CheckFits(membership, request));
  const Member* before = InstanceIn(membership, request);
  if (before != nullptr) {
    const std::string& replaced = before->info.member_id();
    if (!before->info.is_away() && pings(replaced)) return IsInUse(request, replaced);
    // What it gets has a larger token than what the one before it may still go on with, and what
    // the next target gives has one that is larger than that.
    decision->Change(InfoIn(request), /*raises_epoch=*/true, std::string(replaced));
    decision->SetEpoch(decision->epoch() + 2);
    return {};
  }
  if (now.is_memory_full) {
    return ResourceExhausted(
        NameOf(request.group(), request.member_id()) +
        " is new, and the coordinator's memory is full (--coordinator-memory-bytes-max)");
  }
  if (membership.members().size() >= kMembersMax) {
    return ResourceExhausted("group \"" + request.group() + "\" has " +
                             std::to_string(kMembersMax) + " members, and takes no more");
  }
  decision->Change(InfoIn(request), /*raises_epoch=*/true);
  return {};
}

bool IsNewStream(const MemberRequest& request, const Member& member) {
  return request.session() > member.info.session() || member.info.is_away();
}

// It says other things of itself than before, or has a newer stream.
Status DecideKnown(const MemberRequest& request, const Member& member, MemberDecision* decision) {
  const bool is_newer = IsNewStream(request, member);
  if (!request.has_info()) {
    if (is_newer) return Fenced(request, "says nothing of itself in its new stream");
    return {};
  }
  MemberInfo info = InfoIn(request);
  const bool wishes_anew = !WishTheSame(member.info, info);
  if (!is_newer && info.SerializeAsString() == member.info.SerializeAsString()) return {};
  RETURN_IF_ERROR(CheckFits(decision->membership(), request));
  // Whoever is there takes no place but its own.
  const Member* same = InstanceIn(decision->membership(), request);
  if (same != nullptr && same != &member) return IsInUse(request, same->info.member_id());
  decision->Change(std::move(info), wishes_anew);
  return {};
}

Status CheckIsCurrent(const MemberRequest& request, const Member& member) {
  const std::string current = std::to_string(member.epoch);
  if (request.session() < member.info.session() && !MILLRACE_MUTANT(kTwoSessions)) {
    return Fenced(request, "has a newer stream, session " + std::to_string(member.info.session()))
        .AddMetadata("member_epoch", current);
  }
  const auto epoch = static_cast<uint32_t>(std::max(request.member_epoch(), 0));
  if (epoch > member.epoch) {
    return Fenced(request, "is of epoch " + current + ", not " + std::to_string(epoch))
        .AddMetadata("member_epoch", current);
  }
  return {};
}

// Whoever was not told of its newest assignment has not answered it. What it owns beside what it
// was given is another's. `is_new`: the group did not have it, or not in this stream.
Result<MemberSays> WhatIsSaid(const MemberRequest& request, const Member& member, bool is_new) {
  // Of the same stream it may be late: the member may own by now what it was given since.
  if (request.member_epoch() == kMemberComes) return MemberSays{.owned = {}, .is_fresh = is_new};
  std::optional<Assignment> owned = OwnedIn(request);
  if (!owned.has_value() && MILLRACE_MUTANT(kConfirmIsDelta)) owned.emplace();
  if (!owned.has_value()) return MemberSays();
  if (!Difference(*owned, PartitionsOf(member.held())).empty()) {
    return Fenced(request, "owns partitions that are not its own");
  }
  if (request.known_version() != member.assigned_index.value()) return MemberSays();
  return MemberSays{.owned = std::move(owned)};
}

void AddTopic(TopicId topic, const PartitionRuns& partitions,
              google::protobuf::RepeatedPtrField<v1::OwnedPartitions>* out) {
  v1::OwnedPartitions& owned = *out->Add();
  owned.set_topic_id(topic.value());
  for (const PartitionId partition : partitions) owned.add_partitions(partition.value());
}

void FillPartition(const Group& group, const SubscribedTopic* topic,
                   const TopicPartition& partition, uint32_t assigned_epoch,
                   v1::AssignedPartition* out) {
  out->set_partition(partition.partition.value());
  out->set_fencing_token(assigned_epoch);
  out->set_is_later(topic != nullptr &&
                    partition.partition.value() >= topic->first_partition_count);
  const CommittedOffset* committed = group.FindOffset(partition);
  if (committed == nullptr) return;
  out->set_offset(committed->offset.value());
  out->set_leader_epoch(committed->leader_epoch.value());
}

void FillAssignment(const Group& group, const Member& member, const Image& image,
                    v1::Assignment* out) {
  out->set_version(member.assigned_index.value());
  out->set_member_epoch(static_cast<int32_t>(member.epoch));
  std::map<TopicId, std::map<PartitionId, uint32_t>> assigned;
  for (const auto& [epoch, assignment] : member.assigned) {
    for (const auto& [topic, partitions] : assignment) {
      for (const PartitionId partition : partitions) assigned[topic][partition] = epoch;
    }
  }
  for (const auto& [id, partitions] : assigned) {
    const TopicInfo* info = image.FindTopic(id);
    const auto known = group.membership->topics().find(id);
    const bool is_known = known != group.membership->topics().end();
    v1::AssignedTopic& topic = *out->add_topics();
    topic.set_topic_id(id.value());
    if (info != nullptr) topic.set_topic(info->name);
    for (const auto& [partition, epoch] : partitions) {
      FillPartition(group, is_known ? &known->second : nullptr, {id, partition}, epoch,
                    topic.add_partitions());
    }
  }
  for (const auto& [topic, partitions] : PartitionsOf(member.revoking)) {
    AddTopic(topic, partitions, out->mutable_revoked());
  }
}

}  // namespace

uint32_t IntervalMsOf(const MemberInfo& info) {
  return std::min(kMemberIntervalMs, info.session_timeout_ms() / 3);
}

Status CheckMember(const MemberRequest& request) {
  RETURN_IF_ERROR(CheckId(request.group(), "group"));
  RETURN_IF_ERROR(CheckId(request.member_id(), "member_id"));
  if (request.session() == 0) return InvalidArgument("session is 0; the first one is 1");
  if (request.member_epoch() < kMemberGoesAway) {
    return InvalidArgument("member_epoch is " + std::to_string(request.member_epoch()));
  }
  RETURN_IF_ERROR(CheckOwned(request));
  if (!request.has_info()) return {};
  RETURN_IF_ERROR(CheckIsKnown(request));
  return CheckInfo(request.info());
}

CoordinatorDecision DecideMember(const ShardState& state, const CoordinatorCircumstances& now,
                                 const MemberRequest& request,
                                 const std::function<bool(const std::string&)>& pings) {
  MemberDecision decision(state, request.group());
  const std::string& id = request.member_id();
  const Member* member = decision.membership().Find(id);
  const bool goes = request.member_epoch() < kMemberComes;
  if (goes && member == nullptr) return CoordinatorRecords();
  if (member != nullptr) RETURN_IF_ERROR(CheckIsCurrent(request, *member));
  if (request.member_epoch() == kMemberGoes) {
    decision.Remove(id, v1::GROUP_EVENT_KIND_LEFT);
    return std::move(decision).Finish();
  }
  if (request.member_epoch() == kMemberGoesAway) {
    if (member->info.instance_id().empty()) {
      return InvalidArgument(NameOf(request.group(), id) +
                             " has no instance_id, by which it could be back");
    }
    MemberInfo info = member->info;
    if (info.is_away()) return CoordinatorRecords();
    info.set_is_away(true);
    decision.Change(std::move(info), /*raises_epoch=*/false);
    return std::move(decision).Finish();
  }
  if (request.info().has_producer()) RETURN_IF_ERROR(CheckHasTransactions(now.image));
  const bool is_new = member == nullptr || IsNewStream(request, *member);
  if (member == nullptr) {
    RETURN_IF_ERROR(DecideNew(now, request, pings, &decision));
  } else {
    RETURN_IF_ERROR(DecideKnown(request, *member, &decision));
  }
  ASSIGN_OR_RETURN(const MemberSays says,
                   WhatIsSaid(request, *decision.membership().Find(id), is_new));
  decision.Say(id, says);
  return std::move(decision).Finish();
}

CoordinatorDecision DecideRemoval(const ShardState& state, const std::string& group,
                                  const std::string& member_id, v1::GroupEventKind reason) {
  MemberDecision decision(state, group);
  const Member* member = decision.membership().Find(member_id);
  if (member == nullptr) return CoordinatorRecords();
  // It gave up what it was to while this waited.
  const bool is_slow = reason == v1::GROUP_EVENT_KIND_REVOKE_ENDED;
  if (is_slow && member->revoking.empty()) return CoordinatorRecords();
  decision.Remove(member_id, reason);
  return std::move(decision).Finish();
}

CoordinatorDecision DecideTarget(const ShardState& state, const std::string& group,
                                 uint32_t group_epoch, const TargetComputed& target) {
  MemberDecision decision(state, group);
  const bool is_for_it = decision.group() != nullptr && decision.epoch() == group_epoch &&
                         !decision.membership().empty();
  // One of an epoch is enough: with two, a partition could change its owner and keep its token.
  const bool is_newer = target.epoch() > decision.membership().target_epoch();
  if (!is_for_it || !is_newer) return CoordinatorRecords();
  decision.SetTarget(target);
  return std::move(decision).Finish();
}

CoordinatorDecision DecideAdvance(const ShardState& state, const std::string& group) {
  MemberDecision decision(state, group);
  if (decision.group() == nullptr || decision.membership().empty()) return CoordinatorRecords();
  return std::move(decision).FinishAnyway();
}

Status AnswerMember(const ShardState& state, const Image& image, const MemberRequest& request,
                    MemberReply* reply) {
  reply->set_interval_ms(kMemberIntervalMs);
  if (request.member_epoch() < kMemberComes) return {};
  const Group* group = state.Find(request.group());
  const Member* member = group == nullptr ? nullptr : group->membership->Find(request.member_id());
  if (member == nullptr) return Fenced(request, "is not known: it was taken out");
  reply->set_interval_ms(IntervalMsOf(member->info));
  FillAssignment(*group, *member, image, reply->mutable_assignment());
  return {};
}

}  // namespace millrace::broker

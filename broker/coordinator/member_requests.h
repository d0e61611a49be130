// What a shard of the coordinator is asked by members of groups, and what it decides about them by
// itself, as pure functions: decisions (state, request) -> records, and answers from a state. No
// clock, no chance, no I/O.
//
// After each decision every member is as far as it can be (broker/coordinator/reconcile.h).
//
//   RETURN_IF_ERROR(CheckMember(request));
//   ASSIGN_OR_RETURN(auto records, DecideMember(state, {image, is_full}, request, pings));
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "broker/coordinator/requests.h"
#include "broker/coordinator/shard_state.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

// Of one group.
inline constexpr size_t kMembersMax = 1'000;
inline constexpr uint32_t kMemberTimeoutMsMin = 1'000;
inline constexpr uint32_t kMemberTimeoutMsMax = 1'800'000;
inline constexpr uint32_t kSessionTimeoutMsDefault = 30'000;
inline constexpr uint32_t kRevokeTimeoutMsDefault = 60'000;
// How often a member is to be heard, if its session is not shorter than three times that.
inline constexpr uint32_t kMemberIntervalMs = 3'000;
uint32_t IntervalMsOf(const internal::v1::MemberInfo& info);

// MemberRequest.member_epoch.
inline constexpr int32_t kMemberComes = 0;
inline constexpr int32_t kMemberGoes = -1;
inline constexpr int32_t kMemberGoesAway = -2;

// INVALID_ARGUMENT where one value of the request can be no member's; UNIMPLEMENTED for a strategy
// that this version does not know.
Status CheckMember(const internal::v1::MemberRequest& request);

// ABORTED (MEMBER_FENCED) for whom the group does not have, or has in a newer stream or epoch;
// FAILED_PRECONDITION (INSTANCE_ID_IN_USE), or without a reason for another digest than the
// group's; RESOURCE_EXHAUSTED. `pings`: whether the member is heard of, so that nobody may take its
// place. Pre: CheckMember.
CoordinatorDecision DecideMember(const ShardState& state, const CoordinatorCircumstances& now,
                                 const internal::v1::MemberRequest& request,
                                 const std::function<bool(const std::string& member_id)>& pings);
// Nothing where it is not there any more, or has given up what it was to.
CoordinatorDecision DecideRemoval(const ShardState& state, const std::string& group,
                                  const std::string& member_id, v1::GroupEventKind reason);
// Nothing where the group has changed since the target was computed.
CoordinatorDecision DecideTarget(const ShardState& state, const std::string& group,
                                 uint32_t group_epoch, const internal::v1::TargetComputed& target);

// Gives members what nothing holds up any more.
CoordinatorDecision DecideAdvance(const ShardState& state, const std::string& group);

// ABORTED (MEMBER_FENCED).
Status AnswerMember(const ShardState& state, const Image& image,
                    const internal::v1::MemberRequest& request, internal::v1::MemberReply* reply);

}  // namespace millrace::broker

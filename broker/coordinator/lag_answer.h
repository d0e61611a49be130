// How far a group is behind, as people are told: which partitions count, and a page of them with
// what to think of each and of all.
//
// Pure.
//
//   for (const LagTarget& target : LagTargetsOf(group, image)) ... measure ...
//   RETURN_IF_ERROR(AnswerLag(group, measured, {.image = image, .wall_ms = now}, request, &response));
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/lag_history.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

struct LagTarget {
  TopicPartition place;
  RaftGroupId group;
  const CommittedOffset* committed = nullptr;  // the group's; null: none
};

// Every partition of the topics that its members read, or for which it has committed something, in
// order. Topics that are deleted have none.
std::vector<LagTarget> LagTargetsOf(const Group& group, const Image& image);

struct LagCircumstances {
  const Image& image;
  int64_t wall_ms = 0;
};

// INVALID_ARGUMENT for a page token that is none. Partitions that were not measured are left out.
Status AnswerLag(const Group& group, const MeasuredLag& measured, const LagCircumstances& now,
                 const v1::DescribeLagRequest& request, v1::DescribeLagResponse* response);

}  // namespace millrace::broker

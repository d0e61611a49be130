// Who of a group's members is to have which partitions, as things are: what members subscribe to is
// looked up in the image, and the assignor asked that most of them ask for.
//
// Pure; any thread: members and image are values whose copies cost nothing.
//
//   TargetComputed target = ComputeTarget(group.epoch, *group.membership, image);
//   if (target.epoch() != 0) ... it is another one than before
#pragma once

#include <cstddef>
#include <cstdint>

#include "broker/controller/image.h"
#include "broker/coordinator/membership.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

inline constexpr int kSubscribedTopicsMax = 1'000;

// INVALID_ARGUMENT for a subscription that can be nobody's.
Status CheckSubscription(const v1::Subscription& subscription);

// Without the group's name. Its epoch is the group's, or one more where topics alone changed; 0 if
// nothing did. Members are those for whom the target is another one.
internal::v1::TargetComputed ComputeTarget(uint32_t group_epoch, const Membership& membership,
                                           const Image& image);
}  // namespace millrace::broker

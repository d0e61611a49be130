// A group as people are told of it: in what state it is, who its members are and what they have.
//
// Pure.
//
//   RETURN_IF_ERROR(AnswerDescribe(state, image, request, &response));
#pragma once

#include <string>

#include "broker/controller/image.h"
#include "broker/coordinator/group.h"
#include "broker/coordinator/shard_state.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

void FillListed(const std::string& name, const Group& group, v1::ListedGroup* out);

// NOT_FOUND (UNKNOWN_GROUP). Fills what the state has; of topics the names that the image has.
Status AnswerDescribe(const ShardState& state, const Image& image,
                      const v1::DescribeGroupRequest& request, v1::DescribeGroupResponse* response);

}  // namespace millrace::broker

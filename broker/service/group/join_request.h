// What a member says on its Join stream, held against what can be said, and as the coordinator is
// asked it.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(v1::JoinRequest said, ParseJoinRequest(message));
//   ASSIGN_OR_RETURN(internal::v1::MemberRequest request, ToMemberRequest(said.init(), principal));
#pragma once

#include "broker/api/principal.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

using OwnedTopics = google::protobuf::RepeatedPtrField<v1::OwnedPartitions>;

// INVALID_ARGUMENT for what is no message of the stream; UNIMPLEMENTED where it has fields that are
// not known.
Result<v1::JoinRequest> ParseJoinRequest(const Bytes& message);

// What the member asks first, and about itself always: group, ids, session, epoch, what it says of
// itself and what it owns. INVALID_ARGUMENT names what is wrong.
Result<internal::v1::MemberRequest> ToMemberRequest(const v1::JoinInit& init,
                                                    const Principal& principal);

// INVALID_ARGUMENT, also where a name is longer than a topic's may be.
Status CheckWish(const v1::Subscription& subscription);

// INVALID_ARGUMENT for more than 10,000 topics or partitions.
Status CheckOwned(const OwnedTopics& owned);

}  // namespace millrace::broker

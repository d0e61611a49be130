// What a client says on its Consume stream, held against what can be said, and as a member of a
// group says it.
//
// Pure; any thread.
//
//   ASSIGN_OR_RETURN(v1::ConsumeRequest said, ParseConsumeRequest(message));
//   RETURN_IF_ERROR(CheckConsumeInit(said.init()));
#pragma once

#include <cstdint>
#include <string>

#include "millrace/v1/consumer_service.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/bytes.h"
#include "proto/base/status.h"

namespace millrace::broker {

inline constexpr uint32_t kWindowBytesDefault = 1 << 20;
inline constexpr uint32_t kWindowBytesMax = 16 << 20;

// INVALID_ARGUMENT for what is no message of the stream; UNIMPLEMENTED where it has fields that are
// not known.
Result<v1::ConsumeRequest> ParseConsumeRequest(const Bytes& message);

// INVALID_ARGUMENT for what is Consume's own; what a member says of itself is held against the rest
// as JoinInit.
Status CheckConsumeInit(const v1::ConsumeInit& init);
// The member that comes, and owns nothing. `drawn_member_id`: if it names none.
v1::JoinInit ToJoinInit(const v1::ConsumeInit& init, const std::string& drawn_member_id);
uint32_t WindowBytesOf(const v1::ConsumeInit& init);

// Where to begin without an offset. Unspecified: earliest.
v1::Position PositionOf(v1::ConsumeStart start);
// Where the member begins to read what it was given.
v1::Position BeginningOf(const v1::AssignedPartition& assigned, v1::ConsumeStart start);

}  // namespace millrace::broker

#include "broker/service/consume/consume_request.h"

#include "broker/api/parse_request.h"
#include "broker/api/unknown_fields.h"

namespace millrace::broker {
namespace {

Status CheckStart(v1::ConsumeStart start, const std::string& what) {
  if (v1::ConsumeStart_IsValid(start)) return {};
  return Unimplemented(what + " is " + std::to_string(static_cast<int>(start)) +
                       ", which this version does not know");
}

}  // namespace

Result<v1::ConsumeRequest> ParseConsumeRequest(const Bytes& message) {
  ASSIGN_OR_RETURN(v1::ConsumeRequest request, ParseRequest<v1::ConsumeRequest>(message));
  RETURN_IF_ERROR(CheckUnderstood(request));
  if (request.message_case() == v1::ConsumeRequest::MESSAGE_NOT_SET) {
    return InvalidArgument("a message of a Consume stream says nothing");
  }
  if (request.has_commit() && request.commit().what_case() == v1::ConsumeCommit::WHAT_NOT_SET) {
    return InvalidArgument("commit: neither up_to nor offsets says what is to be committed");
  }
  return request;
}

Status CheckConsumeInit(const v1::ConsumeInit& init) {
  RETURN_IF_ERROR(CheckStart(init.start(), "init.start"));
  RETURN_IF_ERROR(CheckStart(init.when_gone(), "init.when_gone"));
  if (init.session() > 1 && init.member_id().empty()) {
    return InvalidArgument("init.session is " + std::to_string(init.session()) +
                           ", and without a member_id this is the member's first");
  }
  if (init.window_bytes() <= kWindowBytesMax) return {};
  return InvalidArgument("init.window_bytes is " + std::to_string(init.window_bytes()) +
                         ", more than " + std::to_string(kWindowBytesMax));
}

v1::JoinInit ToJoinInit(const v1::ConsumeInit& init, const std::string& drawn_member_id) {
  v1::JoinInit join;
  join.set_group(init.group());
  join.set_member_id(init.member_id().empty() ? drawn_member_id : init.member_id());
  join.set_session(init.session() == 0 ? 1 : init.session());
  join.set_instance_id(init.instance_id());
  *join.mutable_subscription() = init.subscription();
  join.set_rack(init.rack());
  join.set_assignor(init.assignor());
  join.set_session_timeout_ms(init.session_timeout_ms());
  join.set_revoke_timeout_ms(init.revoke_timeout_ms());
  join.set_client_id(init.client_id());
  if (init.has_producer()) *join.mutable_producer() = init.producer();
  return join;
}

uint32_t WindowBytesOf(const v1::ConsumeInit& init) {
  return init.window_bytes() == 0 ? kWindowBytesDefault : init.window_bytes();
}

v1::Position PositionOf(v1::ConsumeStart start) {
  v1::Position position;
  if (start == v1::CONSUME_START_LATEST) {
    position.set_latest(true);
  } else {
    position.set_earliest(true);
  }
  return position;
}

v1::Position BeginningOf(const v1::AssignedPartition& assigned, v1::ConsumeStart start) {
  if (!assigned.has_offset()) {
    return PositionOf(assigned.is_later() ? v1::CONSUME_START_EARLIEST : start);
  }
  v1::Position position;
  position.set_offset(assigned.offset());
  return position;
}

}  // namespace millrace::broker

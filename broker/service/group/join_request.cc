#include "broker/service/group/join_request.h"

#include <string>

#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/api/unknown_fields.h"
#include "broker/controller/decide.h"
#include "broker/coordinator/member_requests.h"
#include "broker/coordinator/target.h"

namespace millrace::broker {
namespace {

// Of one member, which may be the only one of its group.
constexpr size_t kOwnedPartitionsMax = 100'000;

using TopicNames = google::protobuf::RepeatedPtrField<std::string>;

// Each name is kept as long as its member is there, on every replica of the shard.
Status CheckNames(const TopicNames& topics) {
  for (const std::string& topic : topics) {
    if (topic.empty()) return InvalidArgument("a topic that is subscribed to has no name");
    if (topic.size() <= kTopicNameBytesMax) continue;
    return InvalidArgument("a topic's name of " + std::to_string(topic.size()) +
                           " bytes is longer than " + std::to_string(kTopicNameBytesMax));
  }
  return {};
}

// Without the port: it says nothing of who it is.
std::string HostOf(const Principal& principal) {
  const std::string& address = principal.peer_address;
  return address.substr(0, address.rfind(':'));
}

uint32_t Or(uint32_t asked, uint32_t if_none) { return asked == 0 ? if_none : asked; }

internal::v1::MemberInfo InfoOf(const v1::JoinInit& init, const Principal& principal) {
  internal::v1::MemberInfo info;
  info.set_member_id(init.member_id());
  info.set_instance_id(init.instance_id());
  info.set_session(init.session());
  *info.mutable_subscription() = init.subscription();
  info.set_rack(init.rack());
  info.set_assignor(init.assignor());
  info.set_session_timeout_ms(Or(init.session_timeout_ms(), kSessionTimeoutMsDefault));
  info.set_revoke_timeout_ms(Or(init.revoke_timeout_ms(), kRevokeTimeoutMsDefault));
  info.set_client_id(init.client_id());
  info.set_client_host(HostOf(principal));
  if (init.has_producer()) *info.mutable_producer() = init.producer();
  info.mutable_native();
  return info;
}

}  // namespace

Result<v1::JoinRequest> ParseJoinRequest(const Bytes& message) {
  ASSIGN_OR_RETURN(v1::JoinRequest request, ParseRequest<v1::JoinRequest>(message));
  RETURN_IF_ERROR(CheckUnderstood(request));
  if (request.message_case() == v1::JoinRequest::MESSAGE_NOT_SET) {
    return InvalidArgument("a message of a Join stream says nothing");
  }
  return request;
}

Result<internal::v1::MemberRequest> ToMemberRequest(const v1::JoinInit& init,
                                                    const Principal& principal) {
  if (init.member_epoch() < kMemberComes) {
    return InvalidArgument("init.member_epoch is " + std::to_string(init.member_epoch()) +
                           "; a member that goes says so with `leave`");
  }
  RETURN_IF_ERROR(CheckOwned(init.owned()));
  if (init.member_epoch() == kMemberComes && !init.owned().empty()) {
    return InvalidArgument("init.owned names partitions, and init.member_epoch is 0");
  }
  RETURN_IF_ERROR(CheckWish(init.subscription()));
  internal::v1::MemberRequest request;
  request.set_group(init.group());
  request.set_member_id(init.member_id());
  request.set_session(init.session());
  request.set_member_epoch(init.member_epoch());
  *request.mutable_info() = InfoOf(init, principal);
  if (init.member_epoch() != kMemberComes) {
    *request.mutable_owned()->mutable_topics() = init.owned();
  }
  RETURN_IF_ERROR(CheckMember(request));
  return request;
}

Status CheckWish(const v1::Subscription& subscription) {
  RETURN_IF_ERROR(CheckSubscription(subscription));
  if (!subscription.digest().empty()) RETURN_IF_ERROR(CheckId(subscription.digest(), "digest"));
  RETURN_IF_ERROR(CheckNames(subscription.topics()));
  for (const v1::TopicSet& set : subscription.topic_sets()) {
    RETURN_IF_ERROR(CheckNames(set.topics()));
  }
  return CheckCount(static_cast<size_t>(subscription.topic_sets_size()), "topic_sets");
}

Status CheckOwned(const OwnedTopics& owned) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(owned.size()), "owned"));
  size_t partitions = 0;
  for (const v1::OwnedPartitions& topic : owned) {
    partitions += static_cast<size_t>(topic.partitions_size());
  }
  if (partitions <= kOwnedPartitionsMax) return {};
  return InvalidArgument("owned: " + std::to_string(partitions) + " partitions are more than " +
                         std::to_string(kOwnedPartitionsMax));
}

}  // namespace millrace::broker

// What a shard of the coordinator is asked for groups and what they committed, as pure functions:
// decisions (state, request) -> records, and answers from a state. No clock, no chance, no I/O.
//
// Requests name topics by id; whoever took them from a client has found these.
//
//   RETURN_IF_ERROR(CheckGroupId(request.group()));
//   ASSIGN_OR_RETURN(auto records, DecideCommit(state, {image, is_full}, request, &response));
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "broker/controller/image.h"
#include "broker/coordinator/shard_state.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/status.h"

namespace millrace::broker {

using CoordinatorDecision = Result<internal::v1::CoordinatorRecords>;

inline constexpr size_t kGroupIdBytesMax = 249;
inline constexpr size_t kOffsetMetadataBytesMax = 4096;
// Of a whole commit, however large a message may be (--message-bytes-max): it is one entry of the
// shard's log. More than gRPC's 4 MiB, as topics have got their ids, and less than brokers pass on.
inline constexpr size_t kCommitBytesMax = size_t{9} << 19;

// NOT_FOUND (UNKNOWN_GROUP).
Status UnknownGroup(const std::string& group);
// INVALID_ARGUMENT unless it is 1 to 249 bytes without control characters. `what`: what to call it.
Status CheckId(std::string_view id, std::string_view what);

// What a decision takes into account beside the state.
struct CoordinatorCircumstances {
  const Image& image;
  bool is_memory_full = false;  // nothing new is taken, nor longer metadata
};

// The partition's commit is not taken.
void AddRefused(const v1::TopicCommit& topic, uint32_t partition, const Status& why,
                v1::CommitOffsetsResponse* response);
// INVALID_ARGUMENT where one value of the request is none that could be committed, naming it; no
// partition twice.
Status CheckCommit(const v1::CommitOffsetsRequest& request);
// Adds to `response` what is not taken. FAILED_PRECONDITION (MEMBER_UNKNOWN).
// Pre: CheckCommit.
CoordinatorDecision DecideCommit(const ShardState& state, const CoordinatorCircumstances& now,
                                 const v1::CommitOffsetsRequest& request,
                                 v1::CommitOffsetsResponse* response);
// Moves the group to these offsets. Pre: CheckCommit.
CoordinatorDecision DecideMove(const ShardState& state, const CoordinatorCircumstances& now,
                               const v1::CommitOffsetsRequest& request);
CoordinatorDecision DecideDeleteOffsets(const ShardState& state,
                                        const v1::DeleteOffsetsRequest& request,
                                        v1::DeleteOffsetsResponse* response);
CoordinatorDecision DecideDeleteGroup(const ShardState& state,
                                      const v1::DeleteGroupRequest& request);

// Where a list of partitions goes on: behind one of them; none for "".
std::string ToPageToken(const TopicPartition& after);
// INVALID_ARGUMENT.
Result<std::optional<TopicPartition>> ParsePartitionToken(std::string_view page_token);
// A page of what is committed, in the request's order of topics; without topics' names.
// INVALID_ARGUMENT for a page token that is none.
Status AnswerFetch(const ShardState& state, const v1::FetchOffsetsRequest& request,
                   v1::FetchOffsetsResponse* response);
// Where a list of all groups goes on: behind a group, in a shard. "" before all of them.
struct GroupsToken {
  uint32_t shard = 0;
  ShardState::Cursor after;
};
std::string ToPageToken(const GroupsToken& token);
// INVALID_ARGUMENT.
Result<GroupsToken> ParseGroupsToken(std::string_view page_token);
// A page of the groups of the shard that the token names; where it has no more, without a token.
Status AnswerList(const ShardState& state, const v1::ListGroupsRequest& request,
                  v1::ListGroupsResponse* response);

}  // namespace millrace::broker

#include "broker/service/group/group_service.h"

#include <string>
#include <utility>

#include "broker/api/parse_request.h"
#include "broker/api/request_limits.h"
#include "broker/api/unknown_fields.h"
#include "broker/coordinator/requests.h"
#include "broker/service/group/join_stream.h"
#include "broker/service/group/offsets_reset.h"
#include "broker/service/group/topic_names.h"
#include "millrace/v1/group_service.pb.h"

namespace millrace::broker {
namespace {

// A request that changes something, understood whole.
template <typename Request>
Result<Request> ParseChange(const Call& call) {
  ASSIGN_OR_RETURN(Request request, ParseRequest<Request>(call.request()));
  RETURN_IF_ERROR(CheckUnderstood(request));
  RETURN_IF_ERROR(CheckId(request.group(), "group"));
  return request;
}

template <typename Reply>
void Answer(Call& call, const Result<Reply>& reply) {
  if (!reply.ok()) return call.Fail(reply.status());
  call.Reply(Bytes::Own(reply->SerializeAsString()));
}

}  // namespace

// The groups of one shard after the other, until a page is full.
class GroupService::List : public std::enable_shared_from_this<GroupService::List> {
 public:
  List(const GroupService& service, std::shared_ptr<Call> call, v1::ListGroupsRequest request)
      : service_(&service),
        call_(std::move(call)),
        deadline_(service.environment_.clock.Now() + service.AskerOf(*call_).timeout),
        request_(std::move(request)),
        count_max_(request_.page_size()) {}

  void AskNext() {
    const Environment& environment = service_->environment_;
    environment.coordinators.ListGroups(
        {.principal = call_->principal(), .timeout = TimeLeft(environment.clock, deadline_)},
        request_, [self = shared_from_this()](const Result<v1::ListGroupsResponse>& groups) {
          self->Take(groups);
        });
  }

 private:
  void Take(const Result<v1::ListGroupsResponse>& groups) {
    if (!groups.ok()) return call_->Fail(groups.status());
    response_.mutable_groups()->MergeFrom(groups->groups());
    bytes_ += groups->ByteSizeLong();
    std::string next = groups->next_page_token();
    if (next.empty()) {
      // The shard has no more. It was asked, so that the token is one.
      GroupsToken token{.shard = ParseGroupsToken(request_.page_token())->shard + 1, .after = {}};
      if (token.shard < service_->environment_.coordinators.shard_count()) {
        next = ToPageToken(token);
      }
    }
    const auto count = static_cast<uint32_t>(response_.groups_size());
    // A shard answers with half as many bytes at most.
    const bool is_full = bytes_ >= kPageBytesMax || (count_max_ != 0 && count >= count_max_);
    if (next.empty() || is_full) {
      response_.set_next_page_token(next);
      return call_->Reply(Bytes::Own(response_.SerializeAsString()));
    }
    request_.set_page_token(next);
    request_.set_page_size(count_max_ == 0 ? 0 : count_max_ - count);
    AskNext();
  }

  const GroupService* service_;
  const std::shared_ptr<Call> call_;
  const MonotonicTime deadline_;  // of all shards together
  v1::ListGroupsRequest request_;
  const uint32_t count_max_;  // 0: as many as fit
  v1::ListGroupsResponse response_;
  size_t bytes_ = 0;
};

void GroupService::Register(ServiceRegistry* registry) {
  const auto add = [this, registry](const std::string& name,
                                    void (GroupService::*serve)(const std::shared_ptr<Call>&)) {
    registry->AddCall("/millrace.v1.GroupService/" + name,
                      [this, serve](const std::shared_ptr<Call>& call) { (this->*serve)(call); });
  };
  add("CommitOffsets", &GroupService::CommitOffsets);
  add("FetchOffsets", &GroupService::FetchOffsets);
  add("ListGroups", &GroupService::ListGroups);
  add("DescribeGroup", &GroupService::DescribeGroup);
  add("DescribeLag", &GroupService::DescribeLag);
  add("ResetOffsets", &GroupService::ResetOffsets);
  add("DeleteOffsets", &GroupService::DeleteOffsets);
  add("DeleteGroup", &GroupService::DeleteGroup);
  registry->AddStream("/millrace.v1.GroupService/Join", [this](std::shared_ptr<Stream> stream) {
    return MakeJoinStream({.executor = environment_.executor,
                           .view = environment_.view,
                           .coordinators = environment_.coordinators,
                           .memory = environment_.memory},
                          std::move(stream));
  });
}

CoordinatorClient::Asker GroupService::AskerOf(const Call& call) const {
  return {.principal = call.principal(),
          .timeout = TimeFor(environment_.clock, call, kForwardTimeout)};
}

void GroupService::CommitOffsets(const std::shared_ptr<Call>& call) {
  Result<v1::CommitOffsetsRequest> request = ParseChange<v1::CommitOffsetsRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  v1::CommitOffsetsResponse response;
  const Status resolved = ResolveCommits(environment_.view, &*request, &response);
  if (!resolved.ok()) return call->Fail(resolved);
  const Status checked = CheckCommit(*request);
  if (!checked.ok()) return call->Fail(checked);
  if (request->topics().empty()) return call->Reply(Bytes::Own(response.SerializeAsString()));
  environment_.coordinators.CommitOffsets(
      AskerOf(*call), *std::move(request),
      [call,
       response = std::move(response)](const Result<v1::CommitOffsetsResponse>& committed) mutable {
        if (!committed.ok()) return call->Fail(committed.status());
        response.MergeFrom(*committed);
        call->Reply(Bytes::Own(response.SerializeAsString()));
      });
}

void GroupService::FetchOffsets(const std::shared_ptr<Call>& call) {
  Result<v1::FetchOffsetsRequest> request = ParseRequest<v1::FetchOffsetsRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  Status checked = CheckId(request->group(), "group");
  if (checked.ok()) checked = ResolveTopics(environment_.view, request->mutable_topics());
  if (!checked.ok()) return call->Fail(checked);
  environment_.coordinators.FetchOffsets(AskerOf(*call), *request,
                                         [this, call](Result<v1::FetchOffsetsResponse> fetched) {
                                           if (fetched.ok())
                                             NameTopics(environment_.view, &*fetched);
                                           Answer(*call, fetched);
                                         });
}

void GroupService::ListGroups(const std::shared_ptr<Call>& call) {
  Result<v1::ListGroupsRequest> request = ParseRequest<v1::ListGroupsRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  const Result<GroupsToken> token = ParseGroupsToken(request->page_token());
  if (!token.ok()) return call->Fail(token.status());
  std::make_shared<List>(*this, call, *std::move(request))->AskNext();
}

void GroupService::DescribeGroup(const std::shared_ptr<Call>& call) {
  const auto request = ParseRequest<v1::DescribeGroupRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  const Status checked = CheckId(request->group(), "group");
  if (!checked.ok()) return call->Fail(checked);
  environment_.coordinators.DescribeGroup(
      AskerOf(*call), *request,
      [this, call, group = request->group()](Result<v1::DescribeGroupResponse> described) {
        const auto shard = environment_.coordinators.ShardOfGroup(group);
        if (described.ok() && shard.ok()) {
          described->set_shard((*shard)->partition.value());
          described->set_coordinator_id(environment_.view.LeaderOf((*shard)->group).leader.value());
        }
        Answer(*call, described);
      });
}

void GroupService::DescribeLag(const std::shared_ptr<Call>& call) {
  const auto request = ParseRequest<v1::DescribeLagRequest>(call->request());
  if (!request.ok()) return call->Fail(request.status());
  Status checked = CheckId(request->group(), "group");
  if (checked.ok()) checked = ParsePartitionToken(request->page_token()).status();
  if (!checked.ok()) return call->Fail(checked);
  environment_.coordinators.DescribeLag(
      AskerOf(*call), *request,
      [call](const Result<v1::DescribeLagResponse>& described) { Answer(*call, described); });
}

void GroupService::ResetOffsets(const std::shared_ptr<Call>& call) {
  Result<v1::ResetOffsetsRequest> request = ParseChange<v1::ResetOffsetsRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  StartOffsetsReset({.clock = environment_.clock,
                     .view = environment_.view,
                     .coordinators = environment_.coordinators,
                     .partitions = environment_.partitions},
                    call, *std::move(request));
}

void GroupService::DeleteOffsets(const std::shared_ptr<Call>& call) {
  Result<v1::DeleteOffsetsRequest> request = ParseChange<v1::DeleteOffsetsRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  if (request->topics().empty()) return call->Fail(InvalidArgument("topics: none is named"));
  const Status resolved = ResolveTopics(environment_.view, request->mutable_topics());
  if (!resolved.ok()) return call->Fail(resolved);
  environment_.coordinators.DeleteOffsets(
      AskerOf(*call), *request,
      [call](const Result<v1::DeleteOffsetsResponse>& deleted) { Answer(*call, deleted); });
}

void GroupService::DeleteGroup(const std::shared_ptr<Call>& call) {
  const Result<v1::DeleteGroupRequest> request = ParseChange<v1::DeleteGroupRequest>(*call);
  if (!request.ok()) return call->Fail(request.status());
  environment_.coordinators.DeleteGroup(
      AskerOf(*call), *request,
      [call](const Result<v1::DeleteGroupResponse>& deleted) { Answer(*call, deleted); });
}

}  // namespace millrace::broker

#include "broker/routing/coordinator_client.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "broker/coordinator/requests.h"
#include "broker/coordinator/slot.h"
#include "broker/routing/attached_bytes.h"
#include "proto/base/coverage.h"

namespace millrace::broker {

template <typename Request, typename Reply>
struct CoordinatorMethod {
  ForwardMethod forward;
  // At whoever leads the shard.
  void (*serve)(const CoordinatorClient::Environment&, RaftGroupId, Asked<Request>,
                CoordinatorReplied<Reply>);
  // What a request that is asked again is refused with if an earlier try had its effect.
  Reason done_before = Reason::kNone;
};

namespace {

// Where nobody tells that a leader was found.
constexpr Duration kRetryInterval = std::chrono::milliseconds(200);
// With less time left nothing is asked again: a timer of next to nothing may come at once, again
// and again, where clocks differ.
constexpr Duration kRetryTimeMin = std::chrono::milliseconds(1);

template <typename Server, typename Request, typename Reply>
using ServeFunction = void (Server::*)(RaftGroupId, Asked<Request>, CoordinatorReplied<Reply>);

template <auto serve, typename Request, typename Reply>
constexpr CoordinatorMethod<Request, Reply> MethodOf(
    std::string_view name, Reason done_before,
    ServeFunction<CoordinatorServer, Request, Reply> /*serve*/) {
  return {.forward = {name, WorkClass::kCoordination},
          .serve =
              [](const CoordinatorClient::Environment& environment, RaftGroupId shard,
                 Asked<Request> request, CoordinatorReplied<Reply> done) {
                (environment.server.*serve)(shard, std::move(request), std::move(done));
              },
          .done_before = done_before};
}
template <auto serve, typename Request, typename Reply>
constexpr CoordinatorMethod<Request, Reply> MethodOf(
    std::string_view name, Reason done_before,
    ServeFunction<TransactionServer, Request, Reply> /*serve*/) {
  return {.forward = {name, WorkClass::kCoordination},
          .serve =
              [](const CoordinatorClient::Environment& environment, RaftGroupId shard,
                 Asked<Request> request, CoordinatorReplied<Reply> done) {
                (environment.transactions.*serve)(shard, std::move(request), std::move(done));
              },
          .done_before = done_before};
}
// What `serve`, of one of the two servers, is called between brokers.
template <auto serve>
constexpr auto Method(std::string_view name, Reason done_before = Reason::kNone) {
  return MethodOf<serve>(name, done_before, serve);
}

constexpr auto kCommitOffsets = Method<&CoordinatorServer::CommitOffsets>("commit_offsets");
constexpr auto kMoveOffsets = Method<&CoordinatorServer::MoveOffsets>("move_offsets");
constexpr auto kFetchOffsets = Method<&CoordinatorServer::FetchOffsets>("fetch_offsets");
constexpr auto kListGroups = Method<&CoordinatorServer::ListGroups>("list_groups");
constexpr auto kDescribeGroup = Method<&CoordinatorServer::DescribeGroup>("describe_group");
constexpr auto kDescribeLag = Method<&CoordinatorServer::DescribeLag>("describe_lag");
constexpr auto kDeleteOffsets = Method<&CoordinatorServer::DeleteOffsets>("delete_offsets");
constexpr auto kDeleteGroup =
    Method<&CoordinatorServer::DeleteGroup>("delete_group", Reason::kUnknownGroup);
constexpr auto kMember = Method<&CoordinatorServer::Member>("member");
constexpr auto kInitTransactions = Method<&TransactionServer::Init>("init_transactions");
constexpr auto kRegisterTransaction = Method<&TransactionServer::Register>("register_transaction");
constexpr auto kEndTransaction = Method<&TransactionServer::End>("end_transaction");
constexpr auto kAbortTransaction = Method<&TransactionServer::Abort>("abort_transaction");
constexpr auto kListTransactions = Method<&TransactionServer::List>("list_transactions");
constexpr auto kDescribeTransaction = Method<&TransactionServer::Describe>("describe_transaction");

// The leader was lost, or is not known: another try may find one.
bool IsPassing(const Status& status) { return status.code() == Code::kUnavailable; }

}  // namespace

// One request, until it is answered.
template <typename Request, typename Reply>
class CoordinatorClient::Attempt
    : public std::enable_shared_from_this<CoordinatorClient::Attempt<Request, Reply>> {
 public:
  Attempt(const CoordinatorClient& client, const CoordinatorMethod<Request, Reply>& method,
          const Asker& asker, Request request, CoordinatorReplied<Reply> done)
      : client_(&client),
        environment_(client.environment_),
        life_(client.lifetime_.watch()),
        method_(method),
        principal_(asker.principal),
        request_(std::make_shared<const Request>(std::move(request))),
        deadline_(environment_.clock.Now() + asker.timeout),
        done_(std::move(done)) {}

  void Try() {
    const Result<const PartitionInfo*> shard = client_->ShardOfRequest(*request_);
    if (!shard.ok()) return OnReply(shard.status());
    const RaftGroupId group = (*shard)->group;
    const auto answered = [self = this->shared_from_this()](Result<Reply> reply) {
      self->OnReply(std::move(reply));
    };
    const CoordinatorShard* here = environment_.find_shard(group);
    if (here != nullptr && here->is_ready()) {
      return method_.serve(environment_, group, request_, answered);
    }
    const LeaderHint leader = environment_.view.LeaderOf(group);
    if (leader.leader == BrokerId() || leader.leader == environment_.self) {
      return OnReply(environment_.view.NotLeader(group));
    }
    environment_.forwarder.Forward(
        {.to = leader.leader,
         .method = method_.forward,
         .body = InOrder(*request_),
         .timeout = TimeLeft(environment_.clock, deadline_),
         .principal = principal_,
         .expected_leader_epoch =
             environment_.view.EpochOf(group, leader.term).value_or(LeaderEpoch())},
        [answered](const Result<Bytes>& body) { answered(MessageIn<Reply>(body)); });
  }

 private:
  void OnReply(Result<Reply> reply) {
    if (!life_) return;
    const bool was_done = tries_ > 0 && method_.done_before != Reason::kNone &&
                          reply.status().reason() == method_.done_before;
    if (was_done) return done_(Reply());
    const Duration left = TimeLeft(environment_.clock, deadline_);
    if (reply.ok() || !IsPassing(reply.status()) || left < kRetryTimeMin) {
      return done_(std::move(reply));
    }
    MILLRACE_SOMETIMES("a coordinator's request was asked again");
    ++tries_;
    const auto again = [self = this->shared_from_this()] {
      if (!self->life_) return;
      self->environment_.executor.Cancel(self->timer_);
      self->environment_.view.ForgetLeadersListener(self->listener_);
      self->Try();
    };
    timer_ = environment_.executor.RunAfter(std::min(left, kRetryInterval), again);
    listener_ = environment_.view.OnceLeadersChanged(again);
  }

  const CoordinatorClient* client_;
  const Environment& environment_;  // the client's
  const LifeWatch life_;
  const CoordinatorMethod<Request, Reply> method_;
  const Principal principal_;
  const Asked<Request> request_;
  const MonotonicTime deadline_;
  CoordinatorReplied<Reply> done_;
  uint64_t tries_ = 0;  // that ended without an answer
  // Of the next one: whichever comes first.
  TimerId timer_;
  uint64_t listener_ = 0;
};

CoordinatorClient::CoordinatorClient(Environment environment)
    : environment_(std::move(environment)) {
  Serve(kCommitOffsets);
  Serve(kMoveOffsets);
  Serve(kFetchOffsets);
  Serve(kListGroups);
  Serve(kDescribeGroup);
  Serve(kDescribeLag);
  Serve(kDeleteOffsets);
  Serve(kDeleteGroup);
  Serve(kMember);
  Serve(kInitTransactions);
  Serve(kRegisterTransaction);
  Serve(kEndTransaction);
  Serve(kAbortTransaction);
  Serve(kListTransactions);
  Serve(kDescribeTransaction);
}

uint32_t CoordinatorClient::shard_count() const {
  const Result<const TopicInfo*> topic = environment_.view.FindCoordinator();
  return topic.ok() ? static_cast<uint32_t>((*topic)->partitions.size()) : 0;
}

Result<const PartitionInfo*> CoordinatorClient::ShardOfSlot(uint32_t slot) const {
  ASSIGN_OR_RETURN(const TopicInfo* topic, environment_.view.FindCoordinator());
  return &ShardOf(*topic, slot);
}

Result<const PartitionInfo*> CoordinatorClient::ShardOfGroup(std::string_view group) const {
  return ShardOfSlot(SlotOf(group));
}

Result<const PartitionInfo*> CoordinatorClient::ShardOfPage(std::string_view page_token) const {
  ASSIGN_OR_RETURN(const TopicInfo* topic, environment_.view.FindCoordinator());
  ASSIGN_OR_RETURN(const GroupsToken token, ParseGroupsToken(page_token));
  if (token.shard < topic->partitions.size()) return &topic->partitions[token.shard];
  return InvalidArgument("page_token is none of these");
}

template <typename Request>
Result<const PartitionInfo*> CoordinatorClient::ShardOfRequest(const Request& request) const {
  if constexpr (requires { request.group(); }) {
    return ShardOfGroup(request.group());
  } else if constexpr (requires { request.page_token(); }) {
    return ShardOfPage(request.page_token());
  } else if constexpr (requires { request.transactional_id(); }) {
    return ShardOfSlot(SlotOf(request.transactional_id()));
  } else {
    return ShardOfSlot(SlotOf(ProducerId(request.transaction().producer_id())));
  }
}

template <typename Request, typename Reply>
void CoordinatorClient::Ask(const CoordinatorMethod<Request, Reply>& method, const Asker& asker,
                            Request request, CoordinatorReplied<Reply> done) {
  if (lifetime_.has_ended()) return;
  std::make_shared<Attempt<Request, Reply>>(*this, method, asker, std::move(request),
                                            std::move(done))
      ->Try();
}

template <typename Request, typename Reply>
void CoordinatorClient::Serve(const CoordinatorMethod<Request, Reply>& method) {
  environment_.forwarder.Serve(
      method.forward,
      [this, serve = method.serve](const ForwardedRequest& forwarded, ForwardReplied done) {
        Result<Request> request = MessageIn<Request>(forwarded.body);
        if (!request.ok()) return done(request.status());
        const Result<const PartitionInfo*> shard = ShardOfRequest(*request);
        if (!shard.ok()) return done(shard.status());
        const RaftGroupId group = (*shard)->group;
        const CoordinatorShard* here = environment_.find_shard(group);
        const LeaderEpoch epoch =
            here == nullptr
                ? LeaderEpoch()
                : environment_.view.EpochOf(group, here->leadership().term).value_or(LeaderEpoch());
        if (epoch < forwarded.expected_leader_epoch) {
          return done(environment_.view.NotLeader(group));
        }
        serve(environment_, group, std::make_shared<const Request>(*std::move(request)),
              [done = std::move(done)](const Result<Reply>& reply) mutable {
                if (!reply.ok()) return done(reply.status());
                done(InOrder(*reply));
              });
      });
}

void CoordinatorClient::CommitOffsets(const Asker& asker, v1::CommitOffsetsRequest request,
                                      CoordinatorReplied<v1::CommitOffsetsResponse> done) {
  Ask(kCommitOffsets, asker, std::move(request), std::move(done));
}

void CoordinatorClient::MoveOffsets(const Asker& asker, v1::CommitOffsetsRequest request,
                                    CoordinatorReplied<v1::CommitOffsetsResponse> done) {
  Ask(kMoveOffsets, asker, std::move(request), std::move(done));
}

void CoordinatorClient::FetchOffsets(const Asker& asker, v1::FetchOffsetsRequest request,
                                     CoordinatorReplied<v1::FetchOffsetsResponse> done) {
  Ask(kFetchOffsets, asker, std::move(request), std::move(done));
}

void CoordinatorClient::ListGroups(const Asker& asker, v1::ListGroupsRequest request,
                                   CoordinatorReplied<v1::ListGroupsResponse> done) {
  Ask(kListGroups, asker, std::move(request), std::move(done));
}

void CoordinatorClient::DescribeGroup(const Asker& asker, v1::DescribeGroupRequest request,
                                      CoordinatorReplied<v1::DescribeGroupResponse> done) {
  Ask(kDescribeGroup, asker, std::move(request), std::move(done));
}

void CoordinatorClient::DescribeLag(const Asker& asker, v1::DescribeLagRequest request,
                                    CoordinatorReplied<v1::DescribeLagResponse> done) {
  Ask(kDescribeLag, asker, std::move(request), std::move(done));
}

void CoordinatorClient::DeleteOffsets(const Asker& asker, v1::DeleteOffsetsRequest request,
                                      CoordinatorReplied<v1::DeleteOffsetsResponse> done) {
  Ask(kDeleteOffsets, asker, std::move(request), std::move(done));
}

void CoordinatorClient::DeleteGroup(const Asker& asker, v1::DeleteGroupRequest request,
                                    CoordinatorReplied<v1::DeleteGroupResponse> done) {
  Ask(kDeleteGroup, asker, std::move(request), std::move(done));
}

void CoordinatorClient::Member(const Asker& asker, internal::v1::MemberRequest request,
                               CoordinatorReplied<internal::v1::MemberReply> done) {
  AskWaiting(kMember, asker, std::move(request), std::move(done));
}

template <typename Request, typename Reply>
void CoordinatorClient::AskWaiting(const CoordinatorMethod<Request, Reply>& method,
                                   const Asker& asker, Request request,
                                   CoordinatorReplied<Reply> done) {
  Asker waiting = asker;
  waiting.timeout += std::chrono::milliseconds(request.wait_ms());
  Ask(method, waiting, std::move(request), std::move(done));
}

void CoordinatorClient::InitTransactions(
    const Asker& asker, internal::v1::InitTransactionsRequest request,
    CoordinatorReplied<internal::v1::InitTransactionsReply> done) {
  AskWaiting(kInitTransactions, asker, std::move(request), std::move(done));
}

void CoordinatorClient::RegisterTransaction(
    const Asker& asker, internal::v1::RegisterTransactionRequest request,
    CoordinatorReplied<internal::v1::RegisterTransactionReply> done) {
  AskWaiting(kRegisterTransaction, asker, std::move(request), std::move(done));
}

void CoordinatorClient::EndTransaction(const Asker& asker,
                                       internal::v1::EndTransactionRequest request,
                                       CoordinatorReplied<internal::v1::EndTransactionReply> done) {
  AskWaiting(kEndTransaction, asker, std::move(request), std::move(done));
}

void CoordinatorClient::AbortTransaction(
    const Asker& asker, internal::v1::AbortTransactionRequest request,
    CoordinatorReplied<internal::v1::AbortTransactionReply> done) {
  AskWaiting(kAbortTransaction, asker, std::move(request), std::move(done));
}

void CoordinatorClient::ListTransactions(
    const Asker& asker, internal::v1::ListTransactionsRequest request,
    CoordinatorReplied<internal::v1::ListTransactionsReply> done) {
  Ask(kListTransactions, asker, std::move(request), std::move(done));
}

void CoordinatorClient::DescribeTransaction(
    const Asker& asker, internal::v1::DescribeTransactionRequest request,
    CoordinatorReplied<internal::v1::DescribeTransactionReply> done) {
  Ask(kDescribeTransaction, asker, std::move(request), std::move(done));
}

}  // namespace millrace::broker

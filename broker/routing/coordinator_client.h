// The coordinator, wherever its shards are led: what is asked of it is done here or one hop away.
// Every request has the effect of one however often it comes, so that it is asked again, while its
// time lasts, where a leader was lost before it answered: a change of leader is a pause.
//
// Owned by the Node, on the shard's thread. `done` is called once, unless Stop comes before: with
// the reply, the coordinator's error, what Forwarder::Forward says, or UNAVAILABLE once the time is
// up.
//
//   coordinators.CommitOffsets({.principal = call->principal(), .timeout = 5s}, request,
//                              [](Result<v1::CommitOffsetsResponse> response) { ... });
#pragma once

#include <cstdint>
#include <functional>

#include "broker/api/principal.h"
#include "broker/coordinator/coordinator_server.h"
#include "broker/coordinator/shard.h"
#include "broker/coordinator/transaction_server.h"
#include "broker/routing/cluster_view.h"
#include "broker/routing/forwarder.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// What can be asked of it.
template <typename Request, typename Reply>
struct CoordinatorMethod;

class CoordinatorClient {
 public:
  struct Asker {
    Principal principal;
    Duration timeout{};
  };
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    ClusterView& view;
    CoordinatorServer& server;
    TransactionServer& transactions;
    // The replica of the shard that is here; null if there is none.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    Forwarder& forwarder;
    BrokerId self;
  };

  // Serves what others ask of shards that are led here, too.
  explicit CoordinatorClient(Environment environment);
  CoordinatorClient(const CoordinatorClient&) = delete;
  CoordinatorClient& operator=(const CoordinatorClient&) = delete;

  void Stop() { lifetime_.End(); }

  // The shard that has the group. UNAVAILABLE as long as the coordinator is not made.
  Result<const PartitionInfo*> ShardOfGroup(std::string_view group) const;
  // How many shards there are; 0 as long as it is not made.
  uint32_t shard_count() const;

  // Of requests, topics are named by id.
  void CommitOffsets(const Asker& asker, v1::CommitOffsetsRequest request,
                     CoordinatorReplied<v1::CommitOffsetsResponse> done);
  void MoveOffsets(const Asker& asker, v1::CommitOffsetsRequest request,
                   CoordinatorReplied<v1::CommitOffsetsResponse> done);
  void FetchOffsets(const Asker& asker, v1::FetchOffsetsRequest request,
                    CoordinatorReplied<v1::FetchOffsetsResponse> done);
  // Of the shard that the page token names (broker/coordinator/requests.h).
  void ListGroups(const Asker& asker, v1::ListGroupsRequest request,
                  CoordinatorReplied<v1::ListGroupsResponse> done);
  void DescribeGroup(const Asker& asker, v1::DescribeGroupRequest request,
                     CoordinatorReplied<v1::DescribeGroupResponse> done);
  void DescribeLag(const Asker& asker, v1::DescribeLagRequest request,
                   CoordinatorReplied<v1::DescribeLagResponse> done);
  void DeleteOffsets(const Asker& asker, v1::DeleteOffsetsRequest request,
                     CoordinatorReplied<v1::DeleteOffsetsResponse> done);
  void DeleteGroup(const Asker& asker, v1::DeleteGroupRequest request,
                   CoordinatorReplied<v1::DeleteGroupResponse> done);
  // `asker.timeout` beside what the request waits for news.
  void Member(const Asker& asker, internal::v1::MemberRequest request,
              CoordinatorReplied<internal::v1::MemberReply> done);
  // Of these, `asker.timeout` beside what the request waits.
  void InitTransactions(const Asker& asker, internal::v1::InitTransactionsRequest request,
                        CoordinatorReplied<internal::v1::InitTransactionsReply> done);
  void RegisterTransaction(const Asker& asker, internal::v1::RegisterTransactionRequest request,
                           CoordinatorReplied<internal::v1::RegisterTransactionReply> done);
  void EndTransaction(const Asker& asker, internal::v1::EndTransactionRequest request,
                      CoordinatorReplied<internal::v1::EndTransactionReply> done);
  void AbortTransaction(const Asker& asker, internal::v1::AbortTransactionRequest request,
                        CoordinatorReplied<internal::v1::AbortTransactionReply> done);
  // Of the shard that the page token names.
  void ListTransactions(const Asker& asker, internal::v1::ListTransactionsRequest request,
                        CoordinatorReplied<internal::v1::ListTransactionsReply> done);
  void DescribeTransaction(const Asker& asker, internal::v1::DescribeTransactionRequest request,
                           CoordinatorReplied<internal::v1::DescribeTransactionReply> done);

 private:
  template <typename Request, typename Reply>
  class Attempt;
  template <typename Request, typename Reply>
  void Ask(const CoordinatorMethod<Request, Reply>& method, const Asker& asker, Request request,
           CoordinatorReplied<Reply> done);
  template <typename Request, typename Reply>
  void Serve(const CoordinatorMethod<Request, Reply>& method);
  // The same, with the time that the request itself says it may wait.
  template <typename Request, typename Reply>
  void AskWaiting(const CoordinatorMethod<Request, Reply>& method, const Asker& asker,
                  Request request, CoordinatorReplied<Reply> done);
  Result<const PartitionInfo*> ShardOfSlot(uint32_t slot) const;
  Result<const PartitionInfo*> ShardOfPage(std::string_view page_token) const;
  // The shard that the request is for.
  template <typename Request>
  Result<const PartitionInfo*> ShardOfRequest(const Request& request) const;

  Environment environment_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

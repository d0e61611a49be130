// What is asked of the coordinator, where a shard is led here: waits for what it takes to decide,
// has the shard decide (broker/coordinator/requests.h), and answers.
//
// Owned by the Node, on the shard's thread. `done` is called once, unless Stop comes before. Each
// has the group of the shard as it was found by whoever asks: UNAVAILABLE (NOT_LEADER) where the
// shard is not led here, or the image gives the group that is asked for to another one.
//
//   server.CommitOffsets(shard, std::make_shared<const v1::CommitOffsetsRequest>(std::move(request)),
//                        [](Result<v1::CommitOffsetsResponse> response) { ... });
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "broker/controller/image.h"
#include "broker/controller/transaction_end.h"
#include "broker/controller/transaction_registrar.h"
#include "broker/coordinator/asked.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/lag_server.h"
#include "broker/coordinator/member_server.h"
#include "broker/coordinator/partition_ends.h"
#include "broker/coordinator/requests.h"
#include "broker/coordinator/shard.h"
#include "millrace/v1/group_service.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/log_store.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class CoordinatorServer {
 public:
  // All outlive this.
  struct Environment {
    const Image& image;
    const CoordinatorMemory& memory;
    PartitionEnds& ends;
    MemberServer& members;
    LagServer& lags;
    TransactionRegistrar& registrar;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    std::function<Status(RaftGroupId)> not_leader;
  };

  explicit CoordinatorServer(Environment environment) : environment_(std::move(environment)) {}
  CoordinatorServer(const CoordinatorServer&) = delete;
  CoordinatorServer& operator=(const CoordinatorServer&) = delete;

  void Stop() {
    lifetime_.End();
    staging_.clear();
  }

  void CommitOffsets(RaftGroupId shard, Asked<v1::CommitOffsetsRequest> request,
                     CoordinatorReplied<v1::CommitOffsetsResponse> done);
  // Moves the group there, whatever it committed before.
  void MoveOffsets(RaftGroupId shard, Asked<v1::CommitOffsetsRequest> request,
                   CoordinatorReplied<v1::CommitOffsetsResponse> done);
  void FetchOffsets(RaftGroupId shard, Asked<v1::FetchOffsetsRequest> request,
                    CoordinatorReplied<v1::FetchOffsetsResponse> done);
  // Of this shard's groups alone.
  void ListGroups(RaftGroupId shard, Asked<v1::ListGroupsRequest> request,
                  CoordinatorReplied<v1::ListGroupsResponse> done);
  void DescribeGroup(RaftGroupId shard, Asked<v1::DescribeGroupRequest> request,
                     CoordinatorReplied<v1::DescribeGroupResponse> done);
  void DescribeLag(RaftGroupId shard, Asked<v1::DescribeLagRequest> request,
                   CoordinatorReplied<v1::DescribeLagResponse> done);
  void DeleteOffsets(RaftGroupId shard, Asked<v1::DeleteOffsetsRequest> request,
                     CoordinatorReplied<v1::DeleteOffsetsResponse> done);
  void DeleteGroup(RaftGroupId shard, Asked<v1::DeleteGroupRequest> request,
                   CoordinatorReplied<v1::DeleteGroupResponse> done);
  void Member(RaftGroupId shard, Asked<internal::v1::MemberRequest> request,
              CoordinatorReplied<internal::v1::MemberReply> done);
  // What the transaction staged in groups of the shard counts now, or never. Ok once that is
  // applied, and also where it staged nothing: then it never will.
  void EndTransaction(RaftGroupId shard, const TransactionEnd& end, raft::StatusDone done);

 private:
  class Commit;
  // Of commits in transactions, from when the shard is registered as one that takes part: by
  // producer.
  using Staging = std::map<std::pair<RaftGroupId, ProducerId>, std::set<std::shared_ptr<Commit>>>;

  // The shard, if it is led here and has the group of that name.
  Result<CoordinatorShard*> FindLed(RaftGroupId shard) const;
  Result<CoordinatorShard*> FindLed(RaftGroupId shard, const std::string& group) const;
  CoordinatorCircumstances now() const;
  // Registers the shard as one that takes part, and decides then.
  void Stage(RaftGroupId shard, const std::shared_ptr<Commit>& commit);
  // Not ok: whoever is told how the transaction ends may not be this leader, or was told by now.
  Status CheckIsRegistered(RaftGroupId shard, const Commit& commit) const;
  void DecideCommitted(RaftGroupId shard, const std::shared_ptr<Commit>& commit);
  // Answers; what was registered is so no more.
  void Finish(RaftGroupId shard, const std::shared_ptr<Commit>& commit, const Status& status);
  template <typename Request, typename Reply, typename Decide>
  void Change(RaftGroupId shard, Asked<Request> request, Decide decide,
              CoordinatorReplied<Reply> done);
  template <typename Request, typename Reply, typename Answer>
  void Read(const Result<CoordinatorShard*>& led, Asked<Request> request, Answer answer,
            CoordinatorReplied<Reply> done);

  Environment environment_;
  Staging staging_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

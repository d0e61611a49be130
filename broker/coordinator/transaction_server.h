// What is asked about transactions where their shard is led here, and the markers that are to be
// sent from there. Whoever leads next sends those of all that is decided and not completed.
//
// Owned by the Node, on the shard's thread; no clock but the injected one. `done` is called once,
// unless Stop comes before: with UNAVAILABLE (NOT_LEADER) where the shard is not led here, or the
// image gives the id to another; UNAVAILABLE if it waited for too long; FAILED_PRECONDITION below
// the feature level that has transactions.
//
//   server.End(shard, request, [](Result<internal::v1::EndTransactionReply> reply) { ... });
//   for (const Marker& marker : server.Markers(shard, 100, &cursor)) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/asked.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/shard.h"
#include "broker/coordinator/transaction_jobs.h"
#include "broker/coordinator/transaction_ports.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "proto/base/ids.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class TransactionServer {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    const Image& image;
    const CoordinatorMemory& memory;
    SlotProducers& producers;
    MarkerSender& markers;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    std::function<Status(RaftGroupId)> not_leader;
  };

  explicit TransactionServer(Environment environment);
  TransactionServer(const TransactionServer&) = delete;
  TransactionServer& operator=(const TransactionServer&) = delete;
  ~TransactionServer() { Stop(); }

  void Stop();

  void Init(RaftGroupId shard, Asked<internal::v1::InitTransactionsRequest> request,
            CoordinatorReplied<internal::v1::InitTransactionsReply> done);
  void Register(RaftGroupId shard, Asked<internal::v1::RegisterTransactionRequest> request,
                CoordinatorReplied<internal::v1::RegisterTransactionReply> done);
  void End(RaftGroupId shard, Asked<internal::v1::EndTransactionRequest> request,
           CoordinatorReplied<internal::v1::EndTransactionReply> done);
  void Abort(RaftGroupId shard, Asked<internal::v1::AbortTransactionRequest> request,
             CoordinatorReplied<internal::v1::AbortTransactionReply> done);
  void Ended(RaftGroupId shard, Asked<internal::v1::ParticipantsEndedRequest> request,
             CoordinatorReplied<internal::v1::ParticipantsEndedReply> done);
  // Of this shard's transactional ids alone.
  void List(RaftGroupId shard, Asked<internal::v1::ListTransactionsRequest> request,
            CoordinatorReplied<internal::v1::ListTransactionsReply> done);
  void Describe(RaftGroupId shard, Asked<internal::v1::DescribeTransactionRequest> request,
                CoordinatorReplied<internal::v1::DescribeTransactionReply> done);

  // Some of those behind the cursor; none at the end, and of a shard that is not led here. Of what
  // is applied alone: no two leaders decide differently.
  std::vector<Marker> Markers(RaftGroupId shard, size_t max,
                              TransactionTable::Completing::Cursor* cursor) const;

  void OnLeadership(RaftGroupId shard, const raft::Leadership& leadership);
  // An entry has changed these transactional ids.
  void OnChanged(RaftGroupId shard, const std::set<std::string>& ids);

 private:
  // Not ok: the slot is not the shard's, either.
  Status CheckServes(RaftGroupId shard, uint32_t slot) const;
  CoordinatorCircumstances now() const;
  // Ends a transaction.
  template <typename Request, typename Reply, typename Decide>
  void Outcome(RaftGroupId shard, Asked<Request> request, Decide decide,
               CoordinatorReplied<Reply> done);
  template <typename Request, typename Reply, typename Answer>
  void Read(RaftGroupId shard, Asked<Request> request, Answer answer,
            CoordinatorReplied<Reply> done);

  Environment environment_;
  TransactionJobs jobs_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

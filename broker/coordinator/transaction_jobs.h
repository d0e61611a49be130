// What is asked about transactional ids, from when it comes to its answer: has the shard decide,
// waits for the entry, and where something has to happen before, for the id to change. Of one id
// whoever came first is decided first, each time.
//
// Part of TransactionServer, on the shard's thread. Nothing of it is in the log: with its term a
// leader lets go of all that wait, who ask again.
//
//   jobs.Begin({.shard = shard, .slot = SlotOf(id), .id = id, .decide = ..., .done = ...});
//   jobs.OnChanged(shard, ids);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "broker/coordinator/shard.h"
#include "broker/coordinator/transaction_ports.h"
#include "broker/coordinator/transaction_requests.h"
#include "broker/coordinator/transaction_waits.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class TransactionJobs {
 public:
  using Decide = std::function<TransactionDecision(const ShardState&, const InitAsked&)>;
  using Granted = MoveFunction<void(Result<TransactionName>)>;
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    SlotProducers& producers;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    std::function<Status(RaftGroupId)> not_leader;
  };
  struct Question {
    RaftGroupId shard;
    uint32_t slot = 0;
    std::string id;        // empty: of a producer id that is nobody's
    uint32_t wait_ms = 0;  // 0: as long as is usual
    uint64_t bytes = 0;
    // It ends a transaction: what waits for that is decided with it.
    bool is_end = false;
    Decide decide;
    // The answer, or UNAVAILABLE: with NOT_LEADER, or where it waited for too long.
    Granted done;
  };

  explicit TransactionJobs(Environment environment) : environment_(std::move(environment)) {}
  TransactionJobs(const TransactionJobs&) = delete;
  TransactionJobs& operator=(const TransactionJobs&) = delete;

  void Stop();

  void Begin(Question question);
  Result<CoordinatorShard*> FindLed(RaftGroupId shard) const;
  // Whether a term has begun by it.
  bool OnLeadership(RaftGroupId shard, const raft::Leadership& leadership);
  // An entry has changed these transactional ids.
  void OnChanged(RaftGroupId shard, const std::set<std::string>& ids);

 private:
  struct Job;
  using JobPtr = std::shared_ptr<Job>;
  struct Outcome;
  // Of one term.
  struct Led {
    Term term;
    TransactionWaits waits;
  };

  // Null once the job's term is over.
  Led* Find(const Job& job);
  void Run(const JobPtr& job);
  CoordinatorShard::Request RequestOf(const JobPtr& job);
  void OnDecided(const JobPtr& job, const Outcome& outcome);
  void Wait(const JobPtr& job, const Outcome& outcome);
  void TakeProducer(const JobPtr& job);

  Environment environment_;
  std::map<RaftGroupId, Led> led_;
  uint64_t begun_ = 0;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

// Tells transactional ids, wherever their shards are led, of producers whose members were taken out
// of groups of the shards that are led here: what they have open is aborted, and they write no
// more. Until each has answered; whoever leads the group's shard next goes on
// (docs/adr/0018-transactions.md, 9).
//
// Owned by the Node, on the shard's thread.
//
//   fencer.OnLeadership(shard, leadership);
//   fencer.OnChanged(shard, {"billing"});
#pragma once

#include <chrono>
#include <compare>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include "broker/coordinator/shard.h"
#include "millrace/internal/v1/transaction.pb.h"
#include "proto/base/ids.h"
#include "raft/ports/log_store.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class ProducerFencer {
 public:
  // All outlive this.
  struct Environment {
    Executor& executor;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    // Asks the shard of the transactional id (TransactionServer::Init).
    std::function<void(internal::v1::InitTransactionsRequest, raft::StatusDone)> init;
  };
  // A transactional id that did not answer is asked again.
  static constexpr Duration kRetryInterval = std::chrono::seconds(1);

  explicit ProducerFencer(Environment environment) : environment_(std::move(environment)) {}
  ProducerFencer(const ProducerFencer&) = delete;
  ProducerFencer& operator=(const ProducerFencer&) = delete;

  void Stop() { lifetime_.End(); }
  void OnLeadership(RaftGroupId shard, const raft::Leadership& leadership);
  // Groups of the shard in which somebody is to be fenced.
  void OnChanged(RaftGroupId shard, const std::set<std::string>& groups);

 private:
  struct Key {
    RaftGroupId shard;
    std::string group;
    ToBeFenced producer;
    auto operator<=>(const Key&) const = default;
  };

  // Null where it is not led here.
  CoordinatorShard* FindLed(RaftGroupId shard) const;
  void FenceAll(RaftGroupId shard, const std::string& name);
  void Fence(const Key& key);
  void OnAnswer(const Key& key, const Status& answer);
  // It is known to have been fenced.
  void Note(CoordinatorShard& shard, const Key& key);

  Environment environment_;
  std::set<Key> asking_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

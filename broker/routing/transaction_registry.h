// Registers partitions with the shards of their producers' transactions, wherever these are led:
// those of one transaction that ask in the same turn together.
//
// Owned by the Node, on the shard's thread. What may pass is answered with UNAVAILABLE, after some
// seconds in which it was tried again: never with who leads the shard, which is not the partition.
#pragma once

#include <map>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "broker/controller/transaction_registrar.h"
#include "broker/routing/coordinator_client.h"
#include "proto/base/ids.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"

namespace millrace::broker {

class TransactionRegistry final : public TransactionRegistrar {
 public:
  // Both outlive this.
  TransactionRegistry(Executor& executor, CoordinatorClient& coordinators)
      : executor_(&executor), coordinators_(&coordinators) {}
  TransactionRegistry(const TransactionRegistry&) = delete;
  TransactionRegistry& operator=(const TransactionRegistry&) = delete;

  void Register(RaftGroupId participant, const TransactionName& name,
                raft::StatusDone done) override;

 private:
  struct Asked {
    RaftGroupId participant;
    raft::StatusDone done;
  };

  void AskAll();
  void Ask(const TransactionName& name, std::vector<Asked> asked);

  Executor* executor_;
  CoordinatorClient* coordinators_;
  std::map<TransactionName, std::vector<Asked>> asked_;  // in this turn
  Lifetime lifetime_;
};

}  // namespace millrace::broker

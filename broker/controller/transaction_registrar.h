// What a partition asks of the shard that a transaction belongs to. Asked and answered on the
// shard's thread of the event loop; it outlives the partitions.
#pragma once

#include "broker/controller/transaction_name.h"
#include "proto/base/ids.h"
#include "raft/ports/log_store.h"

namespace millrace::broker {

class TransactionRegistrar {
 public:
  virtual ~TransactionRegistrar() = default;
  // Says that the group takes part. `done` with ok once that is durable: from then on the group is
  // told how the transaction ends. ABORTED (TRANSACTION_ENDED, TRANSACTION_FENCED), NOT_FOUND
  // (UNKNOWN_PRODUCER) or RESOURCE_EXHAUSTED if it never will be; another error may pass.
  virtual void Register(RaftGroupId participant, const TransactionName& name,
                        raft::StatusDone done) = 0;
};

}  // namespace millrace::broker

// One transactional id whose producers, partitions and clock are a script's: each command is one
// decision, applied as one entry a millisecond after the one before, and prints what is answered.
//
//   init request=1 [limit=60000] [full=1]
//   register number=1 groups=5,6 [epoch=2] [producer=1]   of the newest epoch and producer otherwise
//   end number=1 outcome=commit|abort [epoch=2] [producer=1]
//   abort number=1 [epoch=2]             by an administrator
//   told number=1 groups=5 [epoch=2] [producer=1]   these have the marker
//   again                                what waits is decided again, in its order
//   time ms=60001                        so much has passed; the leader looks by itself
//   state
//
// `times=20001` repeats an init, each with a request of its own. A producer id is called by its
// block: 1, 2 and so on.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/shard_state.h"
#include "broker/coordinator/transaction_requests.h"
#include "broker/coordinator/transaction_times.h"
#include "proto/base/ids.h"
#include "tests/raft/core/script.h"

namespace millrace::broker {

class TransactionLab {
 public:
  std::string Run(const raft::core::Command& command);

 private:
  // Given the state: the records that are applied, and what is printed.
  using Ask = std::function<TransactionDecision()>;
  struct Waiting {
    std::string what;
    Ask ask;
    bool is_init = false;
  };

  std::string Init(const raft::core::Command& command);
  TransactionName NameOf(const raft::core::Command& command) const;
  std::string Decide(Waiting asked);
  std::string Look();
  void Apply(const internal::v1::CoordinatorRecords& records);

  Image image_;
  ShardState state_;
  LogIndex last_;
  MonotonicTime now() const { return MonotonicTime(std::chrono::milliseconds(now_ms_)); }

  TransactionTimes times_;
  int64_t now_ms_ = 0;
  uint64_t blocks_ = 0;
  std::vector<Waiting> waiting_;
};

}  // namespace millrace::broker

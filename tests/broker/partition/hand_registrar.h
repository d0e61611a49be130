// A shard of transactions in a test's hands: what partitions ask of it waits for an answer.
//
// One thread.
//
//   registrar.Answer(Status::Ok());
#pragma once

#include <utility>
#include <vector>

#include "broker/controller/transaction_registrar.h"

namespace millrace::broker {

class HandRegistrar final : public TransactionRegistrar {
 public:
  struct Asked {
    RaftGroupId participant;
    TransactionName name;
    raft::StatusDone done;
  };
  std::vector<Asked> asked;

  void Register(RaftGroupId participant, const TransactionName& name,
                raft::StatusDone done) override {
    asked.push_back({participant, name, std::move(done)});
  }
  // The oldest that was asked.
  void Answer(Status status) {
    Asked oldest = std::move(asked.front());
    asked.erase(asked.begin());
    oldest.done(std::move(status));
  }
};

}  // namespace millrace::broker

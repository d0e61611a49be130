// One producer of transactions of a TransactionsLoad, over all its lives.
//
// Owned by the load, in a process of its own.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "client/core/connector.h"
#include "millrace/v1/producer_service.pb.h"
#include "millrace/v1/transaction_service.pb.h"
#include "raft/runtime/random.h"
#include "tests/simulation/broker/sim_connector.h"
#include "tests/simulation/broker/transactions_load.h"

namespace millrace::sim {

class TransactionActor {
 public:
  TransactionActor(TransactionsLoad& load, uint32_t number, Random random);
  ~TransactionActor();

 private:
  // One life: what InitProducer gave, and what it made of it.
  struct Life {
    uint64_t producer_id = 0;
    uint32_t epoch = 0;
    uint64_t number = 0;  // of the newest transaction
    std::map<uint32_t, uint32_t> sequences;
  };
  // A transaction on its way to its end.
  struct Begun {
    TransactionsLoad::Name name;
    Life life;  // as of then
    bool commits = false;
  };
  enum class Sent { kStored, kEnded, kLost };
  using SentDone = MoveFunction<void(Sent)>;
  class Sending;

  std::string Address();
  void After(uint64_t ms_max, Task task);
  template <typename Request>
  void Call(const std::string& method, const Request& request, client::RpcDone done);

  void Init(uint64_t request_id);
  void OnInit(uint64_t request_id, const Result<Bytes>& answer);
  void Begin();
  void SendNext(uint64_t left);
  void OnSent(uint64_t left, uint32_t partition, Sent sent);
  // The record that is next in the partition.
  void Send(const Begun& begun, uint32_t partition, SentDone done);
  void Finish();
  // Ends it, once those before are; asks until it is told.
  void End(Begun begun);
  void EndNext();
  void OnEnded(const Result<Bytes>& answer);
  // What comes late: of `begun`, which has ended.
  void ComeLate(const Begun& begun);
  void GoOn();
  // Another life begins; this one may not know it.
  void Die();
  void LiveOn(const Begun& left);

  TransactionsLoad& load_;
  const uint32_t number_;
  const std::string transactional_id_;
  SimProcess& process_;
  SimConnector connector_;
  Random random_;
  Life life_;
  uint64_t serial_ = 0;  // of transactions, over all lives
  std::deque<Begun> ending_;
  bool is_ending_ = false;
  bool is_waiting_ = false;  // for all of those before it begins the next one
  std::map<uint64_t, std::unique_ptr<Sending>> sending_;
  uint64_t next_sending_ = 1;
};

}  // namespace millrace::sim

// Batches that a partition's leader has taken and may not append yet: their producer's transaction
// has to be registered first, or the one before it to end, or both. A producer's batches wait in
// their order, and whatever comes from it meanwhile waits behind them.
//
// A value of a Partition, on the shard's thread. Pure. At most kHeldMax batches of a producer;
// their bytes count as their clients' unanswered ones.
//
//   if (held.Holds(producer)) return held.Hold(std::move(batch), until);
//   for (HeldBatch& batch : held.Take(producer)) { ... }
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "broker/partition/sent_batch.h"
#include "proto/base/ids.h"
#include "proto/record/record_batch.h"
#include "raft/runtime/clock.h"

namespace millrace::broker {

// Of a batch with a transaction_number.
TransactionName NameOf(const RecordBatchView& view);

struct HeldBatch {
  RecordBatchView view;  // of sent.bytes
  SentBatch sent;
  ProduceDone done;
};

class HeldBatches {
 public:
  static constexpr size_t kHeldMax = 16;

  bool Holds(ProducerId producer) const { return producers_.contains(producer); }
  // Behind those that the producer has here, whose time it shares; else until then. Answered with
  // RESOURCE_EXHAUSTED (THROTTLED) if it has too many.
  void Hold(HeldBatch batch, MonotonicTime until);
  // One time that a transaction was asked to be registered: what is said of an earlier one is not
  // said of this.
  struct Registration {
    TransactionName name;
    uint64_t attempt = 0;
    bool operator==(const Registration&) const = default;
  };
  // The transaction that the producer's first batch begins. Pre: Holds(producer).
  TransactionName front(ProducerId producer) const;
  // The producer's first batch waits for this. Pre: Holds(name.producer).
  Registration AwaitRegistration(const TransactionName& name);
  // It is registered, or could not be; the batches wait on. Pre: registering(producer).
  void SetRegistered(ProducerId producer);
  void ForgetRegistration(ProducerId producer);
  // The registration of the producer's first batch, if it was asked for, and whether it is done.
  std::optional<Registration> registering(ProducerId producer) const;
  bool is_registered(ProducerId producer) const;
  // The producer's batches, in order, which are not held any more; none if it has none.
  std::vector<HeldBatch> Take(ProducerId producer);
  // Those whose time is over.
  std::vector<HeldBatch> TakeExpired(MonotonicTime now);
  std::vector<HeldBatch> TakeAll();

 private:
  struct Producer {
    std::vector<HeldBatch> batches;
    MonotonicTime until;
    std::optional<Registration> registering;
    bool is_registered = false;
  };
  std::map<ProducerId, Producer> producers_;
  uint64_t last_attempt_ = 0;
};

}  // namespace millrace::broker

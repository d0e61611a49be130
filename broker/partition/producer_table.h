// What a partition remembers of its idempotent producers, so that a retry neither doubles nor
// reorders (design D6). Applied state comes from the log and is part of the segment footer; what
// this leader has appended and not yet applied is kept beside it and dropped when the term is lost.
//
// Producers are forgotten a week after their last append, and the oldest to make room for others
// (producer_memory.h). One that was forgotten and goes on is told so (UNKNOWN_PRODUCER), and so is
// one that repeats its first batch and might have been forgotten: ids of a higher number than any
// that was are certainly new. Left over: an attempt that comes later than its own repetition, with
// as many producers between them as are remembered, is taken for new.
//
// Of a producer that has transactions it remembers the newest one, open or ended
// (docs/adr/0018-transactions.md). Who has one open is never forgotten.
//
// Owned by a Partition, on the shard's thread. Pure. 170 bytes a producer that sent one batch, 24
// for each batch more, 540 at most; 90 for a transaction.
//
//   SequenceCheck check = table.Check({.producer = id, .epoch = e, .first_sequence = n});
//   if (check.verdict == SequenceCheck::kNew) { append; table.AddInFlight(...); }
//   table.Apply(...);   // once committed
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "broker/controller/transaction_name.h"
#include "broker/partition/producer_memory.h"
#include "broker/partition/shared_vector.h"
#include "millrace/internal/v1/partition_state.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// Batches of a producer that are remembered, and so the most that it may have in flight.
inline constexpr uint32_t kProducerBatchesKept = 16;
// Sequences count records and wrap here.
inline constexpr uint32_t kSequenceModulus = 1u << 31;
// Producers that were silent for so long, by append time, are forgotten.
inline constexpr int64_t kProducerExpiryMs = int64_t{7} * 24 * 3600 * 1000;

struct ProducedBatch {
  uint32_t first_sequence = 0;
  uint32_t record_count = 0;
  Offset base_offset;
  int64_t append_time_ms = 0;
};

// What a batch says of itself.
struct Sequence {
  ProducerId producer;
  uint32_t epoch = 0;
  uint32_t first_sequence = 0;
  bool is_repeated = false;  // an earlier attempt had no answer
};

struct SequenceCheck {
  enum Verdict {
    kNew,
    kInFlight,      // the same batch was appended as `original_index` and is not applied yet: wait
    kDuplicate,     // the same batch is stored as `original`
    kOldDuplicate,  // stored longer ago than is remembered; its offset is not known
    kRefused,       // `error` says why
  };
  Verdict verdict = kNew;
  ProducedBatch original;
  LogIndex original_index;
  Status error;
};

// What a batch's transaction says of whether it may be appended.
struct TransactionCheck {
  enum Verdict {
    kTake,         // it is of none, or of the one that is open
    kRegister,     // it begins one, once that is registered
    kAwaitMarker,  // it begins one behind another that is open still
    kRefused,      // `error` says why
  };
  Verdict verdict = kTake;
  Status error;
};

// A producer's newest transaction.
struct ProducerTransaction {
  uint32_t epoch = 0;
  uint64_t number = 0;
  bool is_open = true;
  // Of its first batch, where it lies and when it was appended.
  Offset first_offset;
  int64_t since_ms = 0;
  // Of its marker, if it has ended.
  LogIndex end_index;
  Offset end_offset;
};

// What is remembered of a producer.
struct RememberedProducer {
  ProducerId id;
  uint32_t epoch = 0;
  std::vector<ProducedBatch> batches;                                // oldest first
  std::shared_ptr<const ProducerTransaction> transaction = nullptr;  // null: it had none
};

// What a table remembered at one moment. On any thread.
class FrozenProducers {
 public:
  // By last append, oldest first.
  void SaveTo(internal::v1::PartitionState* state) const;

 private:
  friend class ProducerTable;
  SharedVector<RememberedProducer> producers_;
  uint64_t forgotten_number_ = 0;
};

class ProducerTable {
 public:
  explicit ProducerTable(ProducerMemory& memory) : memory_(&memory), key_(memory.Add(this)) {}
  ~ProducerTable();
  ProducerTable(const ProducerTable&) = delete;
  ProducerTable& operator=(const ProducerTable&) = delete;

  // Whether a batch of this producer was taken, and not forgotten since.
  bool Knows(ProducerId producer) const {
    return by_id_.contains(producer) || in_flight_.contains(producer);
  }
  SequenceCheck Check(const Sequence& sequence) const;
  // Of a batch that Check calls new. Number 0: it is of none.
  TransactionCheck CheckTransaction(const TransactionName& name) const;

  // The leader appended a batch that Check and CheckTransaction let pass.
  void AddInFlight(const TransactionName& sent, const ProducedBatch& batch, LogIndex index);
  // A batch is committed; on every replica, in log order. The log's word counts: where the leader
  // had forgotten what is remembered here, the producer begins anew here too.
  void Apply(const TransactionName& sent, const ProducedBatch& batch, LogIndex index);

  // A transaction's end: where its marker stands.
  struct End {
    TransactionName name;
    LogIndex index;
    Offset offset;  // of the next record
  };
  // The offset of the transaction's first batch, if it is open, what is in flight included.
  std::optional<Offset> OpenSince(const TransactionName& name) const;
  // Whether it is known to have ended, by an entry that is applied.
  bool HasEnded(const TransactionName& name) const;
  // The leader appended a marker.
  void AddEndInFlight(const End& end);
  // A marker is committed. The offset of the transaction's first batch, if it was open.
  std::optional<Offset> ApplyEnd(const End& end);
  // The offset of the first batch of the oldest transaction that is open; none: none is.
  std::optional<Offset> oldest_open() const;
  // Something was appended at this time: forgets producers that were silent for too long.
  void Expire(int64_t append_time_ms);
  // The term is lost: what was not applied is nobody's business here any more.
  void DropInFlight() {
    in_flight_.clear();
    appended_.clear();
  }
  void Clear();

  // Forgets at most so many, oldest first, of those whose last append is not younger.
  struct Oldest {
    int64_t append_time_ms_max = 0;
    size_t count_max = 0;
  };
  void ForgetOldest(const Oldest& oldest);
  // The last append of each producer that may be forgotten.
  void AddAppendTimes(std::vector<int64_t>* times) const;

  // What it remembers now, to be saved elsewhere. Takes microseconds.
  FrozenProducers Freeze() const;
  // DATA_LOSS if that is no state of a table.
  Status LoadFrom(const internal::v1::PartitionState& state);
  size_t size() const { return by_id_.size(); }

 private:
  using Order = std::list<size_t>;  // of places in producers_
  struct Flying {
    LogIndex index;
    ProducedBatch batch;
  };
  struct InFlight {
    uint32_t epoch = 0;
    std::vector<Flying> batches;  // oldest first, never empty
  };
  // What the next batch of a producer must follow on.
  struct Newest {
    uint32_t epoch = 0;
    const ProducedBatch* batch = nullptr;
  };

  // The newest change of a producer's transaction that is not applied yet.
  struct Appended {
    LogIndex index;
    ProducerTransaction transaction;
  };

  const RememberedProducer* Find(ProducerId producer) const;
  // What is in flight included; null: it had none.
  const ProducerTransaction* NewestTransaction(ProducerId producer) const;
  const RememberedProducer& Front() const { return producers_[by_append_.front()]; }
  // Pre: it is not known.
  void Add(RememberedProducer producer);
  void DropFront();
  SequenceCheck CheckUnknown(const Sequence& sequence) const;
  void Land(ProducerId producer, LogIndex index);
  static void Note(RememberedProducer* producer, uint32_t epoch, const ProducedBatch& batch);
  // Pre: it has none open.
  void Open(Order::iterator at, std::shared_ptr<const ProducerTransaction> transaction);
  void MakeRoom();
  void ForgetFront();

  ProducerMemory* memory_;
  const uint64_t key_;                          // at memory_
  SharedVector<RememberedProducer> producers_;  // in no order; each has a batch at least
  // Those without an open transaction, by last append or marker, oldest first.
  Order by_append_;
  Order open_;  // the others, by the first batch of the transaction
  std::unordered_map<ProducerId, Order::iterator> by_id_;
  // The highest number of an id that was forgotten to make room; 0 if none was.
  uint64_t forgotten_number_ = 0;
  std::map<ProducerId, InFlight> in_flight_;
  std::map<ProducerId, Appended> appended_;
};

}  // namespace millrace::broker

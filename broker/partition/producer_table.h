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
// Owned by a Partition, on the shard's thread. Pure. 150 bytes a producer that sent one batch, 24
// for each batch more, 520 at most.
//
//   SequenceCheck check = table.Check({.producer = id, .epoch = e, .first_sequence = n});
//   if (check.verdict == SequenceCheck::kNew) { append; table.AddInFlight(...); }
//   table.Apply(...);   // once committed
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <unordered_map>
#include <vector>

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

// What is remembered of a producer.
struct RememberedProducer {
  ProducerId id;
  uint32_t epoch = 0;
  std::vector<ProducedBatch> batches;  // oldest first
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

  // The leader appended a batch that Check called new.
  void AddInFlight(ProducerId producer, uint32_t epoch, const ProducedBatch& batch, LogIndex index);
  // A batch is committed; on every replica, in log order. The log's word counts: where the leader
  // had forgotten what is remembered here, the producer begins anew here too.
  void Apply(ProducerId producer, uint32_t epoch, const ProducedBatch& batch, LogIndex index);
  // Something was appended at this time: forgets producers that were silent for too long.
  void Expire(int64_t append_time_ms);
  // The term is lost: what was not applied is nobody's business here any more.
  void DropInFlight() { in_flight_.clear(); }
  void Clear();

  // Forgets at most so many, oldest first, of those whose last append is not younger.
  struct Oldest {
    int64_t append_time_ms_max = 0;
    size_t count_max = 0;
  };
  void ForgetOldest(const Oldest& oldest);
  // The last append of each producer.
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

  const RememberedProducer* Find(ProducerId producer) const;
  const RememberedProducer& Front() const { return producers_[by_append_.front()]; }
  // Pre: it is not known.
  void Add(RememberedProducer producer);
  void DropFront();
  SequenceCheck CheckUnknown(const Sequence& sequence) const;
  void Land(ProducerId producer, LogIndex index);
  void ForgetFront();

  ProducerMemory* memory_;
  const uint64_t key_;                          // at memory_
  SharedVector<RememberedProducer> producers_;  // in no order; each has a batch at least
  Order by_append_;                             // by last append, oldest first
  std::unordered_map<ProducerId, Order::iterator> by_id_;
  // The highest number of an id that was forgotten to make room; 0 if none was.
  uint64_t forgotten_number_ = 0;
  std::map<ProducerId, InFlight> in_flight_;
};

}  // namespace millrace::broker

// What a partition remembers of its idempotent producers, so that a retry neither doubles nor
// reorders (design D6). Applied state comes from the log alone and is part of the segment footer;
// what this leader has appended and not yet applied is kept beside it and dropped when the term is
// lost.
//
// Owned by a Partition, on the shard's thread. Pure.
//
//   SequenceCheck check = table.Check(id, epoch, first_sequence);
//   if (check.verdict == SequenceCheck::kNew) { append; table.AddInFlight(...); }
//   table.Apply(...);   // once committed
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "millrace/internal/v1/controller.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"

namespace millrace::broker {

// Batches of a producer that are remembered, and so the most that it may have in flight.
inline constexpr uint32_t kProducerBatchesKept = 16;
// Sequences count records and wrap here.
inline constexpr uint32_t kSequenceModulus = 1u << 31;

struct ProducedBatch {
  uint32_t first_sequence = 0;
  uint32_t record_count = 0;
  Offset base_offset;
  int64_t append_time_ms = 0;
  LogIndex index;
};

struct SequenceCheck {
  enum Verdict {
    kNew,
    kInFlight,      // the same batch was appended and is not applied yet: wait for `original`
    kDuplicate,     // the same batch is stored as `original`
    kOldDuplicate,  // stored longer ago than is remembered; its offset is not known
    kRefused,       // `error` says why
  };
  Verdict verdict = kNew;
  ProducedBatch original;
  Status error;
};

class ProducerTable {
 public:
  SequenceCheck Check(ProducerId producer, uint32_t epoch, uint32_t first_sequence) const;

  // The leader appended a batch that Check called new.
  void AddInFlight(ProducerId producer, uint32_t epoch, const ProducedBatch& batch);
  // A batch is committed; on every replica, in log order.
  void Apply(ProducerId producer, uint32_t epoch, const ProducedBatch& batch);
  // Forgets producers whose last batch is older; decided by append time, so the same on every
  // replica.
  void ExpireBefore(int64_t append_time_ms);
  // The term is lost: what was not applied is nobody's business here any more.
  void DropInFlight() { in_flight_.clear(); }
  void Clear();

  void SaveTo(internal::v1::PartitionState* state) const;
  void LoadFrom(const internal::v1::PartitionState& state);
  size_t size() const { return applied_.size(); }

 private:
  struct Producer {
    uint32_t epoch = 0;
    std::deque<ProducedBatch> batches;  // oldest first
  };

  std::map<ProducerId, Producer> applied_;
  std::map<ProducerId, Producer> in_flight_;
};

}  // namespace millrace::broker

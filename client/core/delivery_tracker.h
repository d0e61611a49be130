// Turns the producer's report per batch into one report per record: each record that was sent with
// a callback gets it called exactly once, in order per partition.
//
// Owned by ProducerClient; on the client's executor. Pure.
//
//   tracker.Sent(partition, on_delivery);       // in the order of Producer::Send
//   tracker.Answer(report, lifetime_.watch());  // calls back
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "client/core/producer.h"
#include "millrace/record.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/runtime/lifetime.h"

namespace millrace::client {

class DeliveryTracker {
 public:
  // What a record with a callback takes, beside what that captures.
  static constexpr size_t record_bytes() { return sizeof(Waiting); }

  explicit DeliveryTracker(uint32_t partition_count) : partitions_(partition_count) {}

  // A record was taken; `on_delivery` may be empty.
  void Sent(PartitionId partition, DeliveryCallback on_delivery);

  // Calls back for the report's records, which are the oldest of their partition. Stops if a
  // callback ends `life`: then this is gone.
  void Answer(const DeliveryReport& report, const LifeWatch& life);

  // How many records of each partition were sent and answered so far; a flush waits for the one to
  // reach what the other was.
  std::vector<uint64_t> sent() const;
  bool HasAnswered(const std::vector<uint64_t>& sent) const;

 private:
  struct Waiting {
    uint64_t number = 0;
    DeliveryCallback on_delivery;
  };
  struct Partition {
    uint64_t sent = 0;
    uint64_t answered = 0;
    std::deque<Waiting> waiting;
  };
  std::vector<Partition> partitions_;
};

}  // namespace millrace::client

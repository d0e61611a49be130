// Turns the producer's report per batch into one report per record: each record that was sent with
// a callback gets it called exactly once, in order per partition.
//
// Owned by ProducerHandle; on the client's thread.
//
//   tracker.Sent(partition, on_delivery);  // in the order of ProducerDriver::Send
//   tracker.Answer(report);                // calls back
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "client/core/producer.h"
#include "millrace/record.h"
#include "proto/base/ids.h"

namespace millrace::internal {

class DeliveryTracker {
 public:
  // What a record with a callback takes, beside what that captures.
  static constexpr size_t record_bytes() { return sizeof(Waiting); }

  explicit DeliveryTracker(uint32_t partition_count) : partitions_(partition_count) {}

  // From now on there are so many partitions. Pre: not fewer than before.
  void Grow(uint32_t partition_count);

  // A record was taken; `on_delivery` may be empty.
  void Sent(PartitionId partition, DeliveryCallback on_delivery);

  // Calls back for the report's records, which are the oldest of their partition. A callback must
  // not destroy this.
  void Answer(const client::DeliveryReport& report);

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

}  // namespace millrace::internal

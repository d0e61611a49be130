// Sends records to one topic: asynchronously, in batches, in order per partition, without loss or
// duplicates while the producer lives, through changes of leaders and broken connections.
//
// Made by Client::OpenProducer. Any thread, several at once; records that one thread sends to one
// partition are stored in that order.
//
//   millrace::Status sent = (*producer)->Send(
//       {.key = "AA", .value = row}, [](const millrace::Delivery& delivery) {
//         if (!delivery.status.ok()) std::cerr << delivery.status << "\n";
//       });
//   millrace::Status done = (*producer)->Flush(std::chrono::seconds(10));
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "millrace/record.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
class ProducerHandle;
}  // namespace internal

struct ProducerOptions {
  Compression compression = Compression::kNone;
  // How large batches grow, in bytes of their records before compression; 1 KiB to 4 MiB, and no
  // larger than the topic takes (its setting batch_bytes_max). A record that is larger is a batch
  // by itself.
  size_t batch_bytes = size_t{512} << 10;
  // How long a record waits for others to share its batch while an earlier one is on its way; one
  // that finds the partition idle never waits. 0 and up.
  std::chrono::milliseconds linger{5};
  // Bytes of records that are not answered, each its encoded size and 128 for keeping track of it,
  // but not what its callback captures; at least twice batch_bytes. A record that is larger is
  // taken when there is no other.
  size_t memory_bytes_max = size_t{32} << 20;
  // How long Send waits for room when that is full. 0 and up.
  std::chrono::milliseconds send_timeout{60'000};
  // From sending a record to giving up on it. 1 ms and up.
  std::chrono::milliseconds delivery_timeout{120'000};
  // How long OpenProducer tries. 1 ms and up.
  std::chrono::milliseconds open_timeout{30'000};
};

class Producer {
 public:
  // Reports what is not answered as CANCELLED; Flush before. Not in a callback.
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  // Takes the record, and calls `on_delivery` exactly once with what became of it; that may be
  // before this returns. Callbacks of one partition come in the order of its records. Without room
  // it waits, except in a callback. RESOURCE_EXHAUSTED if there is still none; INVALID_ARGUMENT
  // (BATCH_TOO_LARGE) for a record that the topic's batch_bytes_max does not allow, or with a
  // negative timestamp, or with an expected end and no partition; NOT_FOUND (UNKNOWN_PARTITION).
  // With an error the record is not taken and nothing is called.
  Status Send(const Record& record, DeliveryCallback on_delivery = {});
  // The same without waiting: RESOURCE_EXHAUSTED at once.
  Status TrySend(const Record& record, DeliveryCallback on_delivery = {});

  // Waits until everything that was sent before is answered and its callbacks have returned.
  // DEADLINE_EXCEEDED if that takes longer; the records stay on their way. It tells nothing of
  // their fate: the reports do.
  Status Flush(std::chrono::milliseconds timeout);

  // Of the topic; it may grow, and keys go to other partitions then.
  uint32_t partition_count() const;
  // Records that were taken and are not answered.
  uint64_t unanswered_records() const;

 private:
  friend class Client;
  explicit Producer(std::unique_ptr<internal::ProducerHandle> handle);

  std::unique_ptr<internal::ProducerHandle> handle_;
};

}  // namespace millrace

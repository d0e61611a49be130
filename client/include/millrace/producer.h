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
//
// With a transactional_id its records are of transactions, each of which counts for readers as a
// whole or not at all, in all partitions of the topic:
//
//   millrace::Status begun = (*producer)->BeginTransaction();
//   millrace::Status taken = (*producer)->Send({.key = "AA", .value = row});
//   millrace::Status committed = (*producer)->CommitTransaction(std::chrono::seconds(60));
//
// What a group consumer has read can be part of it (SendOffsets).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "millrace/record.h"
#include "millrace/status.h"

namespace millrace {

namespace internal {
class Runtime;
class ProducerHandle;
}  // namespace internal

class GroupConsumer;

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
  // Whose transactions the producer's are: 1 to 249 bytes of UTF-8 without control characters; at
  // most one producer has it at a time. OpenProducer takes it from the one before, aborts what that
  // had open, and waits until partitions know. Empty: no transactions.
  std::string transactional_id = {};
  // How long a transaction may be open, from its first record on, before it is aborted; 1 s to 15
  // minutes.
  std::chrono::milliseconds transaction_timeout{60'000};
};

// How a transaction ended; what errors there are stands at CommitTransaction.
using TransactionCallback = std::function<void(const Status&)>;

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

  // Transactions, for a producer with a transactional_id; FAILED_PRECONDITION without. What is sent
  // from BeginTransaction on, by whatever thread, is of the transaction, until it is ended; outside
  // of one nothing is taken (FAILED_PRECONDITION). The next one may begin at once, before the one
  // before it is known to have ended: they end in their order. FAILED_PRECONDITION if one is open;
  // ABORTED (TRANSACTION_FENCED) from when it is known that another producer has the id: then
  // everything fails so, for good. RESOURCE_EXHAUSTED if 1,000 have not ended.
  Status BeginTransaction();
  // What Poll of `reader` has given so far, and did not before, counts for its group once the open
  // transaction is committed, and only then: so that each record is read, worked on and written
  // exactly once. Staged when the transaction is committed, before it ends; what is refused then
  // fails it. Of the same Client as this; one reader a transaction, without auto_commit_interval.
  // FAILED_PRECONDITION while the transaction before has not ended; if this one has offsets of
  // another reader; if one was not committed that had offsets of `reader`, or was begun after such
  // a one, and Rewind was not called since.
  // ABORTED (MEMBER_FENCED) if a partition that was read from is the reader's no more: abort then,
  // and Rewind. From the first call on the producer belongs to the reader's membership: if that is
  // taken out of the group, what is open is aborted, and this is fenced.
  Status SendOffsets(GroupConsumer& reader);
  // Calls `on_ended` exactly once, on the client's thread and after the deliveries of all its
  // records. Ok: decided durably; readers see all of it or nothing a little later.
  // ABORTED (TRANSACTION_ENDED, metadata `outcome` = "aborted"), of a commit: nothing of it counts.
  // A record of it failed, or had no answer within delivery_timeout, or it was open for too long,
  // or an administrator aborted it; the message says what. The next one goes on.
  // UNAVAILABLE, DEADLINE_EXCEEDED: no answer within another delivery_timeout, and nobody knows how
  // it ends; that is settled before anything of the next one is sent. CANCELLED: the producer was
  // destroyed before the answer; it and TRANSACTION_FENCED leave the same doubt.
  // An abort gives up what is not answered: those deliveries are ABORTED. FAILED_PRECONDITION if
  // none is open; with an error that is returned nothing is called.
  Status CommitTransaction(TransactionCallback on_ended);
  Status AbortTransaction(TransactionCallback on_ended);
  // The same, and waits for it: the outcome. DEADLINE_EXCEEDED if that takes longer than `timeout`;
  // it goes on then, and Flush does not wait for it. Not in a callback.
  Status CommitTransaction(std::chrono::milliseconds timeout);
  Status AbortTransaction(std::chrono::milliseconds timeout);

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

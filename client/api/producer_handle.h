// What is behind the public Producer: a queue that many threads fill, bounded by the memory of
// all records that are not answered, and the ProducerDriver that the client's thread drains it
// into.
//
// Owned by Producer. Made and destroyed outside of the client's thread.
//
//   auto handle = ProducerHandle::Open(runtime, topic, options);  // a Result
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "client/api/delivery_tracker.h"
#include "client/api/group_consumer_handle.h"
#include "client/api/open_transaction.h"
#include "client/api/record_queue.h"
#include "client/api/runtime.h"
#include "client/core/producer_driver.h"
#include "millrace/producer.h"
#include "raft/runtime/lifetime.h"

namespace millrace::internal {

class ProducerHandle {
 public:
  // What a record that is not answered takes beside its encoded bytes: its place in the queue, and
  // then in the DeliveryTracker.
  static constexpr size_t kRecordOverheadBytes = 128;
  static_assert(RecordQueue::record_bytes() + DeliveryTracker::record_bytes() <=
                kRecordOverheadBytes);

  static Result<std::unique_ptr<ProducerHandle>> Open(std::shared_ptr<Runtime> runtime,
                                                      const std::string& topic,
                                                      const ProducerOptions& options);
  ~ProducerHandle();
  ProducerHandle(const ProducerHandle&) = delete;
  ProducerHandle& operator=(const ProducerHandle&) = delete;

  Status Send(const Record& record, bool may_wait, DeliveryCallback on_delivery);
  Status Flush(std::chrono::milliseconds timeout);
  Status BeginTransaction();
  Status SendOffsets(GroupConsumerHandle& reader);
  Status EndTransaction(bool is_commit, TransactionCallback on_ended);
  Status EndTransaction(bool is_commit, std::chrono::milliseconds timeout);
  uint32_t partition_count() const { return partition_count_; }
  uint64_t unanswered_records() const;

 private:
  ProducerHandle(std::shared_ptr<Runtime> runtime, const std::string& topic,
                 const ProducerOptions& options);

  Status Check(const Record& record, size_t size) const;
  // What encoded records of so many bytes take.
  static size_t MemoryOf(uint64_t records, size_t bytes) {
    return bytes + records * kRecordOverheadBytes;
  }
  // With mu_ held through `lock`.
  Status WaitForRoom(size_t size, bool may_wait, std::unique_lock<std::mutex>* lock);
  void Release(uint64_t records, size_t bytes);
  // On the client's thread.
  void OnOpened();
  void OnGrown();
  void Drain();
  // Tells of records that were not taken.
  struct Refused {
    Delivery delivery;
    DeliveryCallback on_delivery;
    size_t size = 0;
  };
  void Tell(std::vector<Refused>* refused);
  void Turn(OpenTransaction::Turn turn, std::vector<Refused>* refused);
  void OnEnded(bool is_commit, const Status& outcome, const TransactionCallback& on_ended);
  void LearnFencing(const Status& status);

  const std::shared_ptr<Runtime> runtime_;  // shared with the client and all that was made from it
  const std::string topic_;
  const ProducerOptions options_;
  // As the topic says; written by the client's thread.
  std::atomic<uint32_t> partition_count_{0};
  std::atomic<size_t> record_bytes_max_{0};

  mutable std::mutex mu_;
  std::condition_variable room_;
  RecordQueue waiting_;          // guarded by mu_
  OpenTransaction transaction_;  // guarded by mu_
  // Of whom the last offsets were.
  std::shared_ptr<GroupConsumerHandle::ReadAgain> read_again_;  // guarded by mu_
  bool is_drain_posted_ = false;                                // guarded by mu_
  uint64_t unanswered_records_ = 0;                             // guarded by mu_
  size_t unanswered_bytes_ = 0;                                 // guarded by mu_

  // The client's thread's.
  std::unique_ptr<client::ProducerDriver> producer_;
  std::optional<DeliveryTracker> tracker_;  // once it is open
  RecordQueue draining_;
  uint64_t drained_records_ = 0;
  Lifetime lifetime_;  // ends there; any thread posts what it guards
};

}  // namespace millrace::internal

// What is behind the public Consumer: the ConsumerDriver on the client's thread, and a queue
// between the two that holds at most half of the prefetch; the other half is the ConsumerDriver's.
//
// Owned by Consumer; one thread at a time, beside the client's own. Made and destroyed outside of
// the client's thread.
//
//   auto handle = ConsumerHandle::Open(runtime, topic, options);  // a Result
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/api/chunk_queue.h"
#include "client/api/chunk_records.h"
#include "client/api/runtime.h"
#include "client/core/consumer_driver.h"
#include "millrace/consumer.h"
#include "raft/runtime/lifetime.h"

namespace millrace::internal {

class ConsumerHandle {
 public:
  static Result<std::unique_ptr<ConsumerHandle>> Open(std::shared_ptr<Runtime> runtime,
                                                      const std::string& topic,
                                                      const ConsumerOptions& options);
  ~ConsumerHandle();
  ConsumerHandle(const ConsumerHandle&) = delete;
  ConsumerHandle& operator=(const ConsumerHandle&) = delete;

  // As the Consumer's.
  Result<Records> Poll(std::chrono::milliseconds timeout);
  bool at_end() const;
  std::optional<int64_t> position(uint32_t partition) const;
  Status Assign(uint32_t partition, const Position& start);
  Status Seek(uint32_t partition, const Position& position);
  Status Pause(uint32_t partition);
  Status Resume(uint32_t partition);
  uint32_t partition_count() const { return partition_count_; }

 private:
  // Where reading stops, and the partition ended when it was assigned: not before.
  struct Stop {
    int64_t at = 0;
    int64_t end = 0;
  };
  struct Part {
    std::optional<int64_t> position;  // of the next record to give out
    bool is_finished = false;         // at its end, or failed
    std::optional<Stop> stop = {};
  };

  ConsumerHandle(std::shared_ptr<Runtime> runtime, const std::string& topic,
                 const ConsumerOptions& options);

  Status CheckNew(const std::vector<uint32_t>& partitions) const;
  Status CheckAssigned(uint32_t partition) const;
  // When an open, or an assignment, that begins now is to have ended.
  MonotonicTime OpenDeadline() const;
  Status AssignUntil(MonotonicTime deadline, const std::vector<uint32_t>& partitions,
                     const Position& start);
  bool stops() const { return options_.stop_at_end || options_.stop; }
  // Whether partitions that the topic gets are read, too.
  bool follows() const { return !options_.partitions && !stops(); }
  // Those that came are, without having a Part before something of them does.
  bool IsAssigned(uint32_t partition) const {
    const bool has_come = partition >= followed_from_ && partition < partition_count_;
    return parts_.contains(partition) || (follows() && has_come);
  }
  Result<std::map<uint32_t, Stop>> FindStops(MonotonicTime deadline,
                                             const std::vector<uint32_t>& partitions);
  // Where to ask for records from. Past the stop there are none for this reader, though the offset
  // exists: at the stop, where the end is known without asking.
  client::StartAt StartOf(uint32_t partition, const Position& position) const;
  // What is next in the queue; absent if nothing came in time, or it is an error and may not be.
  std::optional<client::FetchedChunk> Take(Duration timeout, bool may_be_error);
  // Adds the chunk's records, or is its error. A batch that cannot be read adds none.
  Status Read(const client::FetchedChunk& chunk, Records* records, size_t* opened_bytes);
  // The partition is read no more; that comes through the queue, like an error that the broker
  // tells.
  void Fail(PartitionId partition, const Status& why);

  // On the client's thread.
  void OnGrown(PartitionId first);
  void Refill();
  TopicPartition At(uint32_t partition) const {
    return {.topic = consumer_->topic_id(), .partition = PartitionId(partition)};
  }

  const std::shared_ptr<Runtime> runtime_;  // shared with the client and all that was made from it
  const TopicName topic_;                   // shared with the records that came of it
  const ConsumerOptions options_;
  std::atomic<uint32_t> partition_count_{0};  // written by the client's thread
  uint32_t followed_from_ = 0;      // the partitions from here on came while this was open
  std::map<uint32_t, Part> parts_;  // that are assigned; the caller's thread's

  ChunkQueue queue_;

  // The client's thread's.
  std::unique_ptr<client::ConsumerDriver> consumer_;
  Lifetime lifetime_;  // ends there; any thread posts what it guards
};

}  // namespace millrace::internal

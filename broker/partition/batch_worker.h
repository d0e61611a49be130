// Decompresses, checks and rewrites batches on a thread beside the shard, so that a batch that is
// large once decompressed stalls nobody else's work (design D5).
//
// Owned by the Node, used on the shard's thread. Work runs on the worker's executor one after the
// other and touches nothing but what it was given; its result comes back to the shard. What is
// produced keeps its order and goes before what is fetched, of which one piece runs at a time.
// After the destruction nothing is called back.
//
//   RETURN_IF_ERROR(worker.Admit(bytes));
//   worker.Run<Status>({.bytes = bytes}, [batch] { return Check(batch); },
//                      [](Status checked) { ... });
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

#include "proto/base/status.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class BatchWorker {
 public:
  // Bytes of batches that wait to be checked, before and after decompression: some 50 ms of work.
  static constexpr uint64_t kProducedBytesMax = 64 << 20;

  enum class Kind { kProduced, kFetched };
  struct Load {
    Kind kind = Kind::kProduced;
    // Bytes of what was produced. What is fetched is bounded by whoever reads: by memory that is
    // reserved for each read (broker/service/fetch/stream_memory.h), by turns for lookups by time.
    uint64_t bytes = 0;
  };

  BatchWorker(Executor& shard, Executor& worker) : shard_(&shard), worker_(&worker) {}
  BatchWorker(const BatchWorker&) = delete;
  BatchWorker& operator=(const BatchWorker&) = delete;

  // RESOURCE_EXHAUSTED (THROTTLED) with RetryInfo if so much more may not wait. One batch may.
  Status Admit(uint64_t produced_bytes) const;

  // Runs `work` on the worker, then `done` with its result on the shard; never inline.
  template <typename T>
  void Run(Load load, MoveFunction<T()> work, MoveFunction<void(T)> done) {
    auto result = std::make_shared<std::optional<T>>();  // written there, then read here
    Start({.work = [result, work = std::move(work)]() mutable { result->emplace(work()); },
           .done = [result, done = std::move(done)]() mutable { done(std::move(**result)); },
           .load = load});
  }

 private:
  struct Job {
    Task work;
    Task done;
    Load load;
  };

  void Start(Job job);
  void Post(Job job);
  void OnDone();

  Executor* shard_;
  Executor* worker_;
  uint64_t produced_bytes_ = 0;
  bool is_fetching_ = false;
  std::deque<Job> running_;  // posted to the worker, in that order; their work is there
  std::deque<Job> fetched_;  // not posted yet
  Lifetime lifetime_;
};

}  // namespace millrace::broker

// What was fetched and no Poll has taken: between the client's thread, which fills it up to a bound
// of bytes, and the program's, which takes. Notices, things for the program's thread to do, come
// out before all that is there.
//
// Owned by a consumer's handle. Any thread; what says so on the client's alone.
//
//   queue.Fill([&] { return driver.Next(); });             // the client's thread
//   ChunkQueue::Taken taken = queue.Take(timeout, true);   // the program's
//   if (taken.wants_more) runtime.Post([&] { queue.Fill(...); });
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "client/core/consumer.h"
#include "proto/base/ids.h"
#include "raft/runtime/executor.h"

namespace millrace::internal {

class ChunkQueue {
 public:
  // The chunk that crosses it is taken in.
  explicit ChunkQueue(size_t bytes_max) : bytes_max_(bytes_max) {}

  // The client's thread: takes in what `next` has, until it has no more or the queue is full.
  void Fill(const std::function<std::optional<client::FetchedChunk>()>& next);
  // The client's thread: forgets a partition's chunks; with `if_batches` only if there is a batch
  // among them. Where the first batch began.
  std::optional<Offset> Drop(const TopicPartition& partition, bool if_batches);
  void Tell(Task notice);

  // One of both, or neither if nothing came in time.
  struct Taken {
    Task notice;
    std::optional<client::FetchedChunk> chunk;
    // The queue was full and has room: Fill it again.
    bool wants_more = false;

    explicit operator bool() const { return notice || chunk; }
  };
  // Waits up to `timeout`. Unless `may_be_any`, what comes first is left if it is a notice or an
  // error.
  Taken Take(Duration timeout, bool may_be_any);

 private:
  const size_t bytes_max_;
  std::mutex mu_;
  std::condition_variable ready_;
  std::deque<Task> notices_;                 // guarded by mu_
  std::deque<client::FetchedChunk> chunks_;  // guarded by mu_
  size_t bytes_ = 0;                         // guarded by mu_
  bool is_full_ = false;                     // guarded by mu_: it was, and was not filled since
};

}  // namespace millrace::internal

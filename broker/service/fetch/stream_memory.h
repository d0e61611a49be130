// One stream's part of the memory for what is read for clients and sent to them: whether it may
// hold more, and a call once it may. What Fetch and Subscribe have in common.
//
// Owned by the stream's handler, on the shard's thread. Counts nothing of what is written: the edge
// does, as long as the transport has not taken it.
//
//   if (!memory.MayHoldMore()) return;                   // resume(), OnWritable or a read's end
//   MemoryHold reserved = memory.BeginRead(is_behind);   // comes later
//   ... the read ends ...
//   memory.EndRead(reserved);
//   if (reserved.bytes() > 0 || memory.MayHoldMore()) stream->Write(...), memory.OnSent();
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "broker/api/client_memory.h"
#include "broker/api/stream.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// What a partition that is read by a stream costs this broker: the session, its waiter, a read's
// state. Of ClientMemory::sessions.
inline constexpr uint64_t kReadSessionBytes = 512;

class StreamMemory {
 public:
  // Read for a stream or written to it and not yet taken by the transport, past which no reads
  // begin, however much memory is free.
  static constexpr uint64_t kBytesMax = 2 << 20;
  // What one read may find, be it a batch that is larger than what was asked for.
  static constexpr uint64_t kReadBytesMax = 1 << 20;

  // `resume` is called from within the Give that made room for this stream.
  StreamMemory(MemoryBudget& budget, std::shared_ptr<const Stream> stream, Task resume)
      : budget_(&budget), stream_(std::move(stream)), resume_(std::move(resume)) {}
  ~StreamMemory();
  StreamMemory(const StreamMemory&) = delete;
  StreamMemory& operator=(const StreamMemory&) = delete;

  // Whether to begin a read, or to send what a read without a reservation has found. If not,
  // OnWritable or the end of another read makes room; where there are none, `resume` is called.
  bool MayHoldMore();
  // Whether to add to what is held already.
  bool HasRoom() const;

  // Takes what a read may find, where it `is_behind` and so finds something at once; nothing for
  // one that is to wait.
  MemoryHold BeginRead(bool is_behind);
  // Pre: `reserved` is of BeginRead and not given back yet. Whoever holds it gives it back.
  void EndRead(const MemoryHold& reserved);

  // Records were written to the stream; the transport took all (StreamHandler::OnWritable).
  void OnSent() { has_been_sent_ = true; }
  void OnWritable() {
    if (stream_->pending_bytes() == 0) has_taken_all_ = has_been_sent_;
  }

 private:
  uint64_t held() const { return stream_->pending_bytes() + reserved_bytes_; }

  MemoryBudget* budget_;
  std::shared_ptr<const Stream> stream_;
  Task resume_;
  uint64_t reserved_bytes_ = 0;
  // Whether the client has taken records before: what is scarce goes to those first.
  bool has_been_sent_ = false;
  bool has_taken_all_ = false;
  std::optional<MemoryBudget::WaiterId> waiter_;
};

}  // namespace millrace::broker

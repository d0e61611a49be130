// Writes down what a load's producers and readers do, op by op as it happens, and keeps the little
// of it that the load itself needs: what is acknowledged, and how far.
//
// Made by Load, which owns it; on the load's one thread, so that the file's order is what happened.
//
//   Recorder recorder(out, clock);
//   const uint64_t process = recorder.NewProcess();
//   recorder.Invoked(process, sends);
//   recorder.Completed(process, OpType::kOk, sends);
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <vector>

#include "raft/runtime/clock.h"
#include "tests/checker/history.h"

namespace millrace::checker {

class Recorder {
 public:
  Recorder(std::ostream& out, const Clock& clock) : out_(out), clock_(clock) {}

  // A process that ends, because nobody knows what it did, never comes back under its number.
  uint64_t NewProcess() { return next_process_++; }
  // Unique in the whole history, and so in every key.
  Value NewValue() { return next_value_++; }

  void Invoked(uint64_t process, std::vector<Send> sends);
  void Completed(uint64_t process, OpType outcome, std::vector<Send> sends);
  void Assigned(uint64_t process, std::vector<Key> keys);
  void Polled(uint64_t process, std::vector<Read> reads, std::vector<HighWatermark> seen);
  // A reader was told that what it reads is gone.
  void ToldLogStart(uint64_t process, LogStart start);
  // One at a time of a process; so are deletions.
  void OffsetsAsked(uint64_t process);
  void OffsetsTold(uint64_t process, std::vector<LogStart> starts);
  void DeletionAsked(uint64_t process, Deletion deletion);
  // `start` if it was acknowledged with one.
  void DeletionEnded(uint64_t process, OpType outcome, Deletion deletion,
                     std::optional<LogStart> start = {});

  // Counted by key; what has no entry has none.
  const std::vector<uint64_t>& acknowledged() const { return acknowledged_; }
  // The offset after the last one that was acknowledged, by key.
  const std::vector<Offset>& ends() const { return ends_; }
  bool is_written() const { return out_.good(); }

 private:
  void Write(Op op);

  std::ostream& out_;
  const Clock& clock_;
  uint64_t next_process_ = 1;
  Value next_value_ = 1;
  std::vector<uint64_t> acknowledged_;
  std::vector<Offset> ends_;
};

}  // namespace millrace::checker

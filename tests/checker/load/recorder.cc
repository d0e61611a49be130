#include "tests/checker/load/recorder.h"

#include <algorithm>
#include <utility>

#include "tests/checker/history_json.h"

namespace millrace::checker {

void Recorder::Invoked(uint64_t process, std::vector<Send> sends) {
  Write({.type = OpType::kInvoke, .process = process, .sends = std::move(sends)});
}

void Recorder::Completed(uint64_t process, OpType outcome, std::vector<Send> sends) {
  for (const Send& send : sends) {
    if (outcome != OpType::kOk) break;
    const size_t key = send.key.value();
    if (acknowledged_.size() <= key) acknowledged_.resize(key + 1);
    if (ends_.size() <= key) ends_.resize(key + 1);
    ++acknowledged_[key];
    if (send.offset.has_value()) ends_[key] = std::max(ends_[key], *send.offset + 1);
  }
  Write({.type = outcome, .process = process, .sends = std::move(sends)});
}

void Recorder::Assigned(uint64_t process, std::vector<Key> keys) {
  Write(
      {.type = OpType::kOk, .kind = OpKind::kAssign, .process = process, .keys = std::move(keys)});
}

void Recorder::Polled(uint64_t process, std::vector<Read> reads, std::vector<HighWatermark> seen) {
  Write({.type = OpType::kOk,
         .kind = OpKind::kPoll,
         .process = process,
         .reads = std::move(reads),
         .high_watermarks = std::move(seen)});
}

void Recorder::ToldLogStart(uint64_t process, LogStart start) {
  Write({.type = OpType::kOk, .kind = OpKind::kPoll, .process = process, .log_starts = {start}});
}

void Recorder::OffsetsAsked(uint64_t process) {
  Write({.type = OpType::kInvoke, .kind = OpKind::kOffsets, .process = process});
}

void Recorder::OffsetsTold(uint64_t process, std::vector<LogStart> starts) {
  Write({.type = OpType::kOk,
         .kind = OpKind::kOffsets,
         .process = process,
         .log_starts = std::move(starts)});
}

void Recorder::DeletionAsked(uint64_t process, Deletion deletion) {
  Write({.type = OpType::kInvoke,
         .kind = OpKind::kDelete,
         .process = process,
         .deletes = {deletion}});
}

void Recorder::DeletionEnded(uint64_t process, OpType outcome, Deletion deletion,
                             std::optional<LogStart> start) {
  Op op{.type = outcome, .kind = OpKind::kDelete, .process = process, .deletes = {deletion}};
  if (start.has_value()) op.log_starts.push_back(*start);
  Write(std::move(op));
}

void Recorder::Write(Op op) {
  op.time_ns = std::chrono::nanoseconds(clock_.Now()).count();
  out_ << ToJsonLine(op) << '\n';
}

}  // namespace millrace::checker

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

void Recorder::Write(Op op) {
  op.time_ns = std::chrono::nanoseconds(clock_.Now()).count();
  out_ << ToJsonLine(op) << '\n';
}

}  // namespace millrace::checker

// A progress bar on stderr, drawn only where stderr is a terminal, and not more often than an eye
// needs.
//
// On main's thread.
//
//   Progress progress("flights", total_bytes, {.done = "read", .records = "acknowledged"});
//   progress.Update(done_bytes, now);   // as often as you like
//   progress.Finish();
#pragma once

#include <cstdint>
#include <string>

#include "raft/runtime/clock.h"

namespace millrace::client::cli {

// What happened to the share that is done, and to the records that are counted, which need not be
// the same: a line that was read is not acknowledged yet.
struct ProgressWords {
  std::string done;
  std::string records;
};

class Progress {
 public:
  // `total` 0: not known, then the count alone is shown.
  Progress(std::string label, uint64_t total, ProgressWords words);

  // `done` of the total; `records` so far.
  void Update(uint64_t done, uint64_t records, MonotonicTime now);
  // Draws the end and leaves the line.
  void Finish();

  // "flights [#####-----]  50% read  13,502 records acknowledged"
  std::string Line(uint64_t done, uint64_t records) const;

 private:
  const std::string label_;
  const uint64_t total_;
  const ProgressWords words_;
  const bool is_shown_;
  uint64_t done_ = 0;
  uint64_t records_ = 0;
  bool has_drawn_ = false;
  MonotonicTime drawn_at_{};
};

}  // namespace millrace::client::cli

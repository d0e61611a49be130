// A progress bar on stderr, drawn only where stderr is a terminal, and not more often than an eye
// needs.
//
// On main's thread.
//
//   Progress progress("flights", total_bytes);
//   progress.Update(done_bytes, now);   // as often as you like
//   progress.Finish();
#pragma once

#include <cstdint>
#include <string>

#include "raft/runtime/clock.h"

namespace millrace::client::cli {

class Progress {
 public:
  // `total` 0: not known, then the count alone is shown.
  Progress(std::string label, uint64_t total);

  // `done` of the total; `records` so far.
  void Update(uint64_t done, uint64_t records, MonotonicTime now);
  // Draws the end and leaves the line.
  void Finish();

  // "flights [#####-----]  50%  13,502 records"
  std::string Line(uint64_t done, uint64_t records) const;

 private:
  const std::string label_;
  const uint64_t total_;
  const bool is_shown_;
  uint64_t done_ = 0;
  uint64_t records_ = 0;
  bool has_drawn_ = false;
  MonotonicTime drawn_at_{};
};

}  // namespace millrace::client::cli

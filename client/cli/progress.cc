#include "client/cli/progress.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <unistd.h>

#include "client/cli/output.h"

namespace millrace::client::cli {
namespace {

constexpr Duration kRedrawInterval = std::chrono::milliseconds(100);
constexpr uint64_t kBarWidth = 30;

}  // namespace

Progress::Progress(std::string label, uint64_t total, ProgressWords words)
    : label_(std::move(label)),
      total_(total),
      words_(std::move(words)),
      is_shown_(isatty(STDERR_FILENO) == 1) {}

std::string Progress::Line(uint64_t done, uint64_t records) const {
  std::string line = label_;
  if (total_ > 0) {
    const uint64_t full = std::min(done, total_) * kBarWidth / total_;
    const std::string percent = std::to_string(std::min(done, total_) * 100 / total_);
    line += " [" + std::string(full, '#') + std::string(kBarWidth - full, '-') + "] " +
            std::string(3 - percent.size(), ' ') + percent + "%";
    if (!words_.done.empty()) line += " " + words_.done;
  }
  return line + "  " + WithThousands(records) + " records " + words_.records;
}

void Progress::Update(uint64_t done, uint64_t records, MonotonicTime now) {
  done_ = done;
  records_ = records;
  if (!is_shown_ || (has_drawn_ && now - drawn_at_ < kRedrawInterval)) return;
  has_drawn_ = true;
  drawn_at_ = now;
  std::fprintf(stderr, "\r%s", Line(done, records).c_str());
  std::fflush(stderr);
}

void Progress::Finish() {
  if (is_shown_ && has_drawn_) std::fprintf(stderr, "\r%s\n", Line(done_, records_).c_str());
}

}  // namespace millrace::client::cli

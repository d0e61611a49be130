#include "broker/coordinator/lag_history.h"

#include <algorithm>
#include <limits>

#include <glog/logging.h>

namespace millrace::broker {

void LagHistory::Add(const LagSample& sample) {
  // Looks overtake each other.
  if (has_looked_ && sample.at_ms < last_.at_ms) return;
  const Mark mark{.at_ms = sample.at_ms,
                  .end = sample.unread.high_watermark.value(),
                  .committed = sample.committed.has_value() ? sample.committed->value() : -1};
  const bool goes_on = GoesOn(mark);
  const int64_t before = next();
  if (!goes_on) {
    *this = LagHistory();
    older_ = newer_ = mark;
    moved_ms_ = sample.at_ms - sample.commit_age_ms;
  } else if (mark.committed != last_.committed) {
    NoteMove(sample);
  }
  const Mark previous = last_;
  last_ = mark;
  log_start_ = sample.unread.log_start.value();
  commit_age_ms_ = sample.commit_age_ms;
  has_looked_ = true;
  NoteAppendTime(sample, goes_on && next() == before);
  if (!goes_on) return;
  // What was there then has been there since, and what was not came later.
  for (const Mark& seen : {older_, newer_, previous}) {
    if (seen.end > next()) {
      came_ms_max_ = std::min(came_ms_max_, seen.at_ms);
    } else {
      came_ms_min_ = std::max(came_ms_min_, seen.at_ms);
    }
  }
  came_ms_min_ = std::min(came_ms_min_, came_ms_max_);
  if (mark.at_ms - newer_.at_ms >= kWindowMs) {
    older_ = newer_;
    newer_ = mark;
  }
}

bool LagHistory::GoesOn(const Mark& mark) const {
  if (!has_looked_) return false;
  const bool began_to_commit = last_.committed < 0 && mark.committed >= 0;
  return !began_to_commit && mark.committed >= last_.committed && mark.end >= last_.end;
}

// It moved after the last look, and not after the commit that is there now.
void LagHistory::NoteMove(const LagSample& sample) {
  const int64_t moved_ms = std::max(last_.at_ms, sample.at_ms - sample.commit_age_ms);
  const int64_t waits_since = std::max(moved_ms_, came_ms_max_);
  commit_took_ms_ = is_at_end() ? 0 : std::max<int64_t>(0, moved_ms - waits_since);
  moved_ms_ = moved_ms;
}

void LagHistory::NoteAppendTime(const LagSample& sample, bool is_same_record) {
  int64_t min_ms = sample.at_ms - sample.unread.waited_ms_max;
  int64_t max_ms = sample.at_ms - sample.unread.waited_ms_min;
  if (is_at_end()) {
    min_ms = sample.at_ms;
    max_ms = std::numeric_limits<int64_t>::max();
  }
  if (is_same_record) {
    min_ms = std::max(min_ms, came_ms_min_);
    max_ms = std::min(max_ms, came_ms_max_);
  }
  came_ms_min_ = min_ms;
  came_ms_max_ = max_ms;
}

int64_t LagHistory::next() const { return std::max(last_.committed, log_start_); }

LagLook LagHistory::Look() const {
  CHECK(has_looked_);
  LagLook look{.is_committed = last_.committed >= 0,
               .lag = std::max<int64_t>(0, last_.end - next()),
               .commit_age_ms = commit_age_ms_,
               .unmoved_ms = last_.at_ms - moved_ms_,
               .commit_took_ms = commit_took_ms_,
               .measured_ms = last_.at_ms - older_.at_ms,
               .came_in = last_.end - older_.end};
  if (look.is_committed) {
    look.lost = std::max<int64_t>(0, log_start_ - last_.committed);
    look.read = last_.committed - older_.committed;
  }
  if (look.is_committed && look.lag > 0) {
    look.waited_ms_min = last_.at_ms - came_ms_max_;
    look.waited_ms_max = last_.at_ms - came_ms_min_;
  }
  return look;
}

}  // namespace millrace::broker

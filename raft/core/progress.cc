#include "raft/core/progress.h"

#include <algorithm>
#include <utility>

#include <glog/logging.h>

#include "proto/base/mutants.h"

namespace millrace::raft::core {
namespace {

// How often the wait for an answer may double: 4 doublings of the 300 ms timeout make 5 s. A
// follower whose journal is full drops entries, and is not to wait much longer than that itself.
constexpr uint32_t kLostWindowsMax = 4;

}  // namespace

void Progress::DropWindow() {
  window_.clear();
  window_bytes_ = 0;
}

void Progress::BecomeProbe(const Log& log) {
  state_ = State::kProbe;
  // At the begin at least: it is a refusal there that shows a follower to need what lies below.
  next_ = std::max(match_, log.unsendable_end()) + 1;
  is_probe_sent_ = false;
  DropWindow();
  ticks_without_answer_ = 0;
}

void Progress::OnReturned(const Log& log) {
  BecomeProbe(log);
  lost_windows_ = 0;
}

Progress::Step Progress::NextStep(const Log& log, uint64_t window_bytes) {
  if (is_reading_) return Step::kWait;
  const bool is_probe = state_ == State::kProbe;
  if (is_probe && is_probe_sent_) return Step::kWait;
  if (!is_probe && next_ > log.last_index()) return Step::kWait;
  if (!window_.empty() && window_bytes_ >= window_bytes) return Step::kWait;
  // The log's begin has passed it: it is asked there.
  if (next_ <= log.unsendable_end()) BecomeProbe(log);
  if (is_behind_) return Step::kAsk;
  if (next_ <= log.prefix().index) {
    is_reading_ = true;
    return Step::kRead;
  }
  // Catching up goes by another lane, which the tail must not overtake: it would be refused.
  if (!window_.empty() && window_.back().is_catching_up) return Step::kWait;
  return Step::kSend;
}

void Progress::OnSend(const std::vector<Entry>& entries, bool is_catching_up, uint64_t round) {
  if (state_ == State::kProbe) DropWindow();  // A probe replaces the one before it.
  is_probe_sent_ = true;
  if (entries.empty()) return;
  Sent sent{.last = entries.back().index, .is_catching_up = is_catching_up, .round = round};
  sent.bytes = TotalBytes(entries);
  if (window_.empty()) ticks_without_answer_ = 0;
  window_bytes_ += sent.bytes;
  window_.push_back(sent);
  if (state_ == State::kReplicate) next_ = sent.last + 1;
}

bool Progress::OnRead(LogIndex first, const Log& log) {
  is_reading_ = false;
  // The log's begin may have passed what was read.
  return next_ == first && first > log.unsendable_end() &&
         !(state_ == State::kProbe && is_probe_sent_);
}

void Progress::Acknowledge(LogIndex index, const Log& log) {
  if (index > match_) {
    match_ = index;
    lost_windows_ -= std::min(lost_windows_, 1u);
  }
  next_ = std::max(next_, match_ + 1);
  if (match_ >= log.unsendable_end()) is_behind_ = false;
  while (!window_.empty() && window_.front().last <= index) {
    window_bytes_ -= window_.front().bytes;
    window_.pop_front();
    ticks_without_answer_ = 0;
  }
  if (state_ != State::kProbe) return;
  BecomeProbe(log);
  state_ = State::kReplicate;
}

Progress::Refused Progress::OnRefused(const AppendReply& reply, const Log& log) {
  // A refusal of something older than what the follower acknowledged since is stale; so is, while
  // probing, one of anything but the probe (the rest of a pipeline after its first refusal).
  if (reply.index <= match_ || reply.hint_index >= reply.index) return {};
  if (state_ == State::kProbe && reply.index != next_ - 1) return {};
  const LogIndex common = log.LastIndexWithTermAtMost(reply.hint_term, reply.hint_index);
  BecomeProbe(log);
  const LogIndex needed = std::max(match_, common) + 1;
  if (reply.index > log.unsendable_end()) {
    next_ = needed;
    return {.wants_entries = true, .needed = needed};
  }
  // The follower needs what lies below the begin, or did: the refusal may be older than what it has
  // got since. So it is sent nothing but the same question, with each heartbeat that it answers.
  is_probe_sent_ = true;
  return {.wants_entries = false,
          .is_behind = true,
          .is_newly_behind = !std::exchange(is_behind_, true),
          .needed = needed};
}

void Progress::OnHeartbeatReply(uint64_t round, const Log& log) {
  const uint64_t answered_before = answered_round_;
  answered_round_ = std::max(answered_round_, round);
  // Heartbeats are answered in turn. Where the last one before what is under way was passed over,
  // nobody was there then (a broker or a replica that was yet to come), and what is under way went
  // to nobody. On a way that is merely slow each one is answered.
  if (!window_.empty() && answered_before < window_.front().round &&
      window_.front().round < round) {
    OnReturned(log);
  }
  // Otherwise a probe with entries is under way until TickWindow gives it up.
  if (state_ == State::kProbe && window_.empty()) is_probe_sent_ = false;
}

void Progress::TickWindow(uint32_t election_timeout_ticks, const Log& log) {
  if (window_.empty() || MILLRACE_MUTANT(kLostWindowIsNeverProbed)) return;
  const uint32_t patience = election_timeout_ticks << lost_windows_;
  if (++ticks_without_answer_ < patience) return;
  BecomeProbe(log);
  lost_windows_ = std::min(lost_windows_ + 1, kLostWindowsMax);
}

void Progress::CheckInvariants(LogIndex last_index) const {
  CHECK_LE(match_, last_index);
  CHECK_LT(match_, next_);
  CHECK_EQ(window_.empty(), window_bytes_ == 0);
}

}  // namespace millrace::raft::core

// How far one follower or learner is, as its leader sees it, and what to send it next (Raft §5.3;
// the states are those of etcd/raft). While it is probed one append at a time asks where the logs
// agree; then entries are sent ahead, within a window of bytes.
//
// Part of a leader's state, on the shard's thread. Pure: it is told what was sent, what was
// answered and that time passed.
//
//   while (progress.NextStep(log, window_bytes) == Progress::Step::kSend) {
//     progress.OnSend(entries, ...);
//   }
//   progress.Acknowledge(reply.index, log);
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "proto/base/ids.h"
#include "raft/core/entry.h"
#include "raft/core/log.h"
#include "raft/core/message.h"

namespace millrace::raft::core {

class Progress {
 public:
  // A follower of whom nothing is known: it is asked at `next`.
  explicit Progress(LogIndex next) : next_(next) {}

  // The follower has the leader's entries up to here, durably.
  LogIndex match() const { return match_; }
  // The next entry that it is sent, or asked about.
  LogIndex next() const { return next_; }
  // Since it was heard from.
  uint32_t silent_ticks() const { return silent_ticks_; }
  // The round of the newest heartbeat that it answered.
  uint64_t answered_round() const { return answered_round_; }
  bool is_reading() const { return is_reading_; }

  enum class Step : uint8_t {
    kWait,  // for an answer, for room in the window, or for something to send
    kAsk,   // with an append without entries
    kRead,  // its next entries lie below the tail; answered with OnRead
    kSend,  // entries from next() on
  };
  // What is to be done for it now. A read counts as begun.
  Step NextStep(const Log& log, uint64_t window_bytes);
  // An append with these entries leaves, after the heartbeats of `round`.
  void OnSend(const std::vector<Entry>& entries, bool is_catching_up, uint64_t round);
  // Entries from `first` on were read for it; whether they are what it still needs.
  bool OnRead(LogIndex first, const Log& log);

  // It has, durably, the entries up to `index`, which are the leader's. Pre: the log has `index`.
  void Acknowledge(LogIndex index, const Log& log);
  struct Refused {
    bool wants_entries = false;    // to be sent some now; not if the refusal says nothing new
    bool is_behind = false;        // it needs `needed`, which lies below the log's begin
    bool is_newly_behind = false;  // ... and did not before
    LogIndex needed;
  };
  // It refused an append.
  Refused OnRefused(const AppendReply& reply, const Log& log);
  // It answered the heartbeats of `round`.
  void OnHeartbeatReply(uint64_t round, const Log& log);
  // Something came from it.
  void OnHeard() { silent_ticks_ = 0; }

  // What was sent is lost: it is asked anew where the logs agree.
  void BecomeProbe(const Log& log);
  // It is there again: what was sent before is lost, and no reason to wait.
  void OnReturned(const Log& log);

  // A tick without a word from it.
  void TickSilence() { ++silent_ticks_; }
  // A tick in which what is under way was not answered. What is never answered was lost, or its
  // answer was; or the way there is slow, and sending it again at the same pace would fill it with
  // copies: so patience doubles with each window that is given up.
  void TickWindow(uint32_t election_timeout_ticks, const Log& log);

  void CheckInvariants(LogIndex last_index) const;

 private:
  enum class State : uint8_t { kProbe, kReplicate };
  struct Sent {
    LogIndex last;
    uint64_t bytes = 0;
    bool is_catching_up = false;  // began below the tail: it may travel more slowly than the tail
    uint64_t round = 0;           // of the last heartbeats that were sent before it
  };

  void DropWindow();

  State state_ = State::kProbe;
  LogIndex match_;
  LogIndex next_;
  bool is_probe_sent_ = false;  // a probe waits for its answer or the next heartbeat's
  bool is_reading_ = false;     // entries below the tail are being read for it
  // It said that it needs what lies below the log's begin, and the host knows.
  bool is_behind_ = false;
  uint32_t silent_ticks_ = 0;
  std::deque<Sent> window_;
  uint64_t window_bytes_ = 0;
  uint32_t ticks_without_answer_ = 0;
  uint32_t lost_windows_ = 0;  // each doubles the patience with the next; an answer takes one back
  uint64_t answered_round_ = 0;
};

}  // namespace millrace::raft::core

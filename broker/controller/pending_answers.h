// Answers to what a leader decided: given once the entry that they rest on is applied here, or,
// where there is none, once a majority confirmed that this replica still leads; one that was cut
// off would tell of what was. Whoever loses leadership first does not know what became of it, and
// says so.
//
// Part of a state machine, on the shard's thread.
//
//   answers.OnceApplied(index, Status::Ok(), done);
//   answers.WithoutEntry(NotFound(...), done);
//   answers.OnApplied(entry.index, entry.term);   // after the state has it
//   answers.OnLeadership(leadership);
#pragma once

#include <deque>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class PendingAnswers {
 public:
  using Done = MoveFunction<void(Status)>;
  // Group::ReadBarrier.
  using Confirm = MoveFunction<void(MoveFunction<void(Status)>)>;

  explicit PendingAnswers(Confirm confirm) : confirm_(std::move(confirm)) {}

  // Whether decisions can be made: this replica leads, and has applied what older leaders left.
  bool is_ready() const { return leadership_.is_ready; }

  // Pre: the entry was proposed in this term, none with a larger index before.
  void OnceApplied(LogIndex index, Status status, Done done) {
    if (pending_.empty() || pending_.back().index != index) {
      CHECK(pending_.empty() || pending_.back().index < index);
      pending_.push_back({.index = index, .waiting = {}});
    }
    pending_.back().waiting.push_back({std::move(status), std::move(done)});
  }

  // What it rests on may still be in flight; once that is applied, it is also sure who led.
  void WithoutEntry(Status status, Done done) {
    if (!pending_.empty()) {
      pending_.back().waiting.push_back({std::move(status), std::move(done)});
      return;
    }
    confirm_([status = std::move(status), done = std::move(done)](Status confirmed) mutable {
      done(confirmed.ok() ? std::move(status) : std::move(confirmed));
    });
  }

  // The entry is applied, of whatever kind and whoever proposed it.
  void OnApplied(LogIndex index, Term term) {
    std::vector<Answer> answered;
    while (!pending_.empty() && pending_.front().index <= index) {
      CHECK_EQ(leadership_.term, term) << "index=" << index;
      for (Answer& answer : pending_.front().waiting) answered.push_back(std::move(answer));
      pending_.pop_front();
    }
    for (Answer& answer : answered) answer.done(std::move(answer.status));
  }

  // Whether what was pending still is: leadership of the same term goes on.
  bool OnLeadership(const raft::Leadership& leadership) {
    const bool is_same = leadership.is_ready && leadership.term == leadership_.term;
    leadership_ = leadership;
    if (is_same) return true;
    for (Pending& pending : std::exchange(pending_, {})) {
      for (Answer& answer : pending.waiting) answer.done(LeadershipLost());
    }
    return false;
  }

  static Status LeadershipLost() {
    return Unavailable("leadership was lost before the change was applied; it may yet take effect",
                       Reason::kNotLeader);
  }

 private:
  struct Answer {
    Status status;
    Done done;
  };
  struct Pending {
    LogIndex index;
    std::vector<Answer> waiting;
  };

  Confirm confirm_;
  std::deque<Pending> pending_;  // by index
  raft::Leadership leadership_;
};

}  // namespace millrace::broker

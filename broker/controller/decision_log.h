// Decisions on a replicated state: each is made on the state as it will be once everything that is
// in flight is applied, proposed as records, and answered once these are applied here. So many may
// be in flight at once, and none rests on what another one has taken. What is answered without an
// entry, an error or that nothing changes, is answered once a majority confirmed that this replica
// still leads: one that was cut off would tell of what was.
//
// `State` is cheap to copy (CopyOnWrite), and has `Status Apply(const Record&)`; `records()` of
// `Records` is a range of Record. What a follower applies does not come by here.
//
// Part of a state machine, on the shard's thread.
//
//   DecisionLog<Image, ControllerRecords> decisions(
//       image, [&](const Image& on, const Records& r) { return group->Propose(...); },
//       [&](auto done) { group->ReadBarrier(std::move(done)); });
//   decisions.Execute([](const Image& image) { return DecideDeleteTopic(image, ...); }, done);
//   decisions.OnApplied(entry.index, entry.term);   // after the state has it
//   decisions.OnLeadership(leadership);
#pragma once

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

template <typename State, typename Records>
class DecisionLog {
 public:
  using Decide = MoveFunction<Result<Records>(const State&)>;
  using Done = MoveFunction<void(Status)>;
  // Proposes the records as one entry; they were decided on that state.
  using Propose = MoveFunction<Result<LogIndex>(const State&, const Records&)>;
  // Group::ReadBarrier.
  using Confirm = MoveFunction<void(MoveFunction<void(Status)>)>;

  // `applied` is what the machine has applied; it outlives this.
  DecisionLog(const State& applied, Propose propose, Confirm confirm)
      : applied_(&applied), propose_(std::move(propose)), confirm_(std::move(confirm)) {}

  // Whether decisions can be made: this replica leads, and has applied what older leaders left.
  bool is_ready() const { return leadership_.is_ready; }

  // Decides and replicates the records. `done` gets the decision's error, or the proposal's; or ok
  // once they are applied; or UNAVAILABLE if leadership is lost first (the fate is then unknown) or
  // cannot be confirmed.
  // Pre: is_ready().
  void Execute(Decide decide, Done done) {
    CHECK(is_ready());
    const State& state = in_flight_.has_value() ? *in_flight_ : *applied_;
    const Result<Records> records = decide(state);
    if (!records.ok()) return AnswerWithoutEntry({records.status(), std::move(done)});
    if (records->records().empty()) return AnswerWithoutEntry({Status::Ok(), std::move(done)});
    const Result<LogIndex> index = propose_(state, *records);
    if (!index.ok()) return done(index.status());
    if (!in_flight_.has_value()) in_flight_ = *applied_;
    for (const auto& record : records->records()) {
      const Status applied = in_flight_->Apply(record);
      CHECK(applied.ok()) << applied;  // it was decided on this very state
    }
    Pending& pending = pending_.emplace_back();
    pending.index = *index;
    pending.waiting.push_back({Status::Ok(), std::move(done)});
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

  void OnLeadership(const raft::Leadership& leadership) {
    const bool is_same = leadership.is_ready && leadership.term == leadership_.term;
    leadership_ = leadership;
    if (is_same) return;
    in_flight_.reset();
    for (Pending& pending : std::exchange(pending_, {})) {
      for (Answer& answer : pending.waiting) {
        answer.done(
            Unavailable("leadership was lost before the change was applied; it may yet take effect",
                        Reason::kNotLeader));
      }
    }
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

  void AnswerWithoutEntry(Answer answer) {
    // What it rests on may still be in flight; once that is applied, it is also sure who led.
    if (!pending_.empty()) return pending_.back().waiting.push_back(std::move(answer));
    confirm_([answer = std::move(answer)](Status confirmed) mutable {
      answer.done(confirmed.ok() ? std::move(answer.status) : std::move(confirmed));
    });
  }

  const State* applied_;
  Propose propose_;
  Confirm confirm_;
  // With all that is pending; none before the first decision of a term. It is kept when nothing is
  // in flight any more, though equal to what is applied: made anew each time it would copy what the
  // next decision touches.
  std::optional<State> in_flight_;
  std::deque<Pending> pending_;  // by index
  raft::Leadership leadership_;
};

}  // namespace millrace::broker

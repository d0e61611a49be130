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

#include <optional>
#include <utility>

#include <glog/logging.h>

#include "broker/controller/pending_answers.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

template <typename State, typename Records>
class DecisionLog {
 public:
  using Decide = MoveFunction<Result<Records>(const State&)>;
  using Done = PendingAnswers::Done;
  // Proposes the records as one entry; they were decided on that state.
  using Propose = MoveFunction<Result<LogIndex>(const State&, const Records&)>;
  using Confirm = PendingAnswers::Confirm;

  // `applied` is what the machine has applied; it outlives this.
  DecisionLog(const State& applied, Propose propose, Confirm confirm)
      : applied_(&applied), propose_(std::move(propose)), answers_(std::move(confirm)) {}

  // Whether decisions can be made: this replica leads, and has applied what older leaders left.
  bool is_ready() const { return answers_.is_ready(); }

  // Decides and replicates the records. `done` gets the decision's error, or the proposal's; or ok
  // once they are applied; or UNAVAILABLE if leadership is lost first (the fate is then unknown) or
  // cannot be confirmed.
  // Pre: is_ready().
  void Execute(Decide decide, Done done) {
    CHECK(is_ready());
    const State& state = in_flight_.has_value() ? *in_flight_ : *applied_;
    const Result<Records> records = decide(state);
    if (!records.ok()) return answers_.WithoutEntry(records.status(), std::move(done));
    if (records->records().empty()) return answers_.WithoutEntry(Status::Ok(), std::move(done));
    const Result<LogIndex> index = propose_(state, *records);
    if (!index.ok()) return done(index.status());
    if (!in_flight_.has_value()) in_flight_ = *applied_;
    for (const auto& record : records->records()) {
      const Status applied = in_flight_->Apply(record);
      CHECK(applied.ok()) << applied;  // it was decided on this very state
    }
    answers_.OnceApplied(*index, Status::Ok(), std::move(done));
  }

  // The entry is applied, of whatever kind and whoever proposed it.
  void OnApplied(LogIndex index, Term term) { answers_.OnApplied(index, term); }

  void OnLeadership(const raft::Leadership& leadership) {
    const bool is_same = leadership.is_ready && leadership.term == term_;
    term_ = leadership.term;
    if (!is_same) in_flight_.reset();
    answers_.OnLeadership(leadership);
  }

 private:
  const State* applied_;
  Propose propose_;
  // With all that is pending; none before the first decision of a term. It is kept when nothing is
  // in flight any more, though equal to what is applied: made anew each time it would copy what the
  // next decision touches.
  std::optional<State> in_flight_;
  Term term_;
  PendingAnswers answers_;
};

}  // namespace millrace::broker

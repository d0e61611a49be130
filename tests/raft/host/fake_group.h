// A Group whose log is in memory and whose fate the test decides: what is proposed is in the log at
// once, and committed when the test says so.
//
// One thread.
//
//   FakeGroup group(kGroup, partition);   // attaches itself
//   group.Lead(Term(1));
//   partition.Produce(...);
//   group.CommitAll();
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "proto/frame/frame.h"
#include "raft/core/log.h"
#include "raft/ports/group.h"
#include "raft/ports/state_machine.h"

namespace millrace::raft {

class FakeGroup final : public Group {
 public:
  FakeGroup(RaftGroupId id, StateMachine& machine) : id_(id), machine_(&machine) {
    machine_->Attach(*this);
  }

  // What Propose answers instead of taking it.
  Status refusal;
  // What was reported as unreadable, and what readers are told in place of it, if anything.
  std::vector<Status> unreadable;
  Status told_of_unreadable;
  // Read barriers that wait for the test to answer them.
  std::vector<MoveFunction<void(Status)>> barriers;

  void Lead(Term term) { Tell({.is_leader = true, .is_ready = true, .term = term, .leader = {}}); }
  void Follow(Term term) {
    Tell({.is_leader = false, .is_ready = false, .term = term, .leader = {}});
  }
  const core::Log& log() const { return log_; }
  // Applies what is in the log and was not yet.
  void CommitAll() {
    while (applied_ < log_.last_index()) {
      ++applied_;
      const Status applied = machine_->Apply(log_.At(applied_));
      CHECK(applied.ok()) << applied;
    }
  }
  // As another leader does that did not have it.
  void CutUncommitted() {
    if (applied_ < log_.last_index()) log_.TruncateFrom(applied_ + 1);
  }
  // As one that met damage: its core is gone.
  void FallSilent(const Status& why) { health_ = why; }
  // The entries up to `index` are in segments alone.
  void TrimTo(LogIndex index) { log_.TrimTo(index); }
  void AnswerBarriers(const Status& status) {
    for (MoveFunction<void(Status)>& done : std::exchange(barriers, {})) done(status);
  }

  Result<LogIndex> Propose(ProposalClass, FrameHeader draft, Buffer frame) override {
    if (!leadership_.is_leader) return NotLeader();
    if (!refusal.ok()) return refusal;
    draft.group = id_;
    draft.term = leadership_.term;
    draft.index = log_.last_index() + 1;
    draft.chain = FrameChain(log_.last_chain(), draft);
    log_.Append({.term = draft.term,
                 .index = draft.index,
                 .type = core::EntryType::kCommand,
                 .chain = draft.chain,
                 .frame = SealFrame(draft, std::move(frame)),
                 .configuration = nullptr});
    return draft.index;
  }
  void ReadBarrier(MoveFunction<void(Status)> done) override {
    barriers.push_back(std::move(done));
  }
  Status ReportUnreadable(const Status& why) override {
    unreadable.push_back(why);
    return told_of_unreadable.ok() ? why : told_of_unreadable;
  }
  std::string Name() const override { return "group=" + std::to_string(id_.value()); }
  const Status& health() const override { return health_; }
  Status NotLeader() const override {
    return Unavailable("this broker does not lead the partition", Reason::kNotLeader);
  }
  Offset next_offset() const override {
    if (log_.prefix().index == log_.last_index()) return machine_->next_offset();
    const FrameHeader& last = log_.At(log_.last_index()).frame.header();
    return last.base_offset + last.offset_span;
  }
  int64_t last_append_time_ms() const override {
    if (log_.prefix().index == log_.last_index()) return machine_->last_append_time_ms();
    return log_.At(log_.last_index()).frame.header().append_time_ms;
  }
  uint32_t settled = 0;
  uint32_t settled_pass() const override { return settled; }
  void TellPass() override {}
  std::optional<TailView> tail() const override {
    if (!health_.ok()) return std::nullopt;
    return TailView(log_, applied_);
  }

 private:
  void Tell(const Leadership& leadership) {
    leadership_ = leadership;
    machine_->OnLeadership(leadership_);
  }

  RaftGroupId id_;
  StateMachine* machine_;
  core::Log log_;
  LogIndex applied_;
  Leadership leadership_;
  Status health_;
};

}  // namespace millrace::raft

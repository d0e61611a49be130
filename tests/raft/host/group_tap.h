// A state machine that hands everything on to another, and keeps the group that it was given: for
// tests that do to a group what its machine would not.
#pragma once

#include <utility>

#include "raft/ports/state_machine.h"

namespace millrace::raft {

class GroupTap final : public StateMachine {
 public:
  explicit GroupTap(StateMachine& machine) : machine_(&machine) {}

  Group& group() { return *group_; }

  void Attach(Group& group) override {
    group_ = &group;
    machine_->Attach(group);
  }
  Status Restore(Bytes state) override { return machine_->Restore(std::move(state)); }
  Status Apply(const core::Entry& entry) override { return machine_->Apply(entry); }
  StateEncoder TakeSnapshot() const override { return machine_->TakeSnapshot(); }
  Offset next_offset() const override { return machine_->next_offset(); }
  Offset log_start() const override { return machine_->log_start(); }
  int64_t last_append_time_ms() const override { return machine_->last_append_time_ms(); }
  void OnLeadership(const Leadership& now) override { machine_->OnLeadership(now); }

 private:
  StateMachine* machine_;
  Group* group_ = nullptr;
};

}  // namespace millrace::raft

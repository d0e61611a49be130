// The controller's state machine: the image as applied, and the decisions that change it while this
// broker leads the controller group.
//
// Every broker that votes in the controller group has one; only the leader's decides. On the
// shard's thread. It writes no log lines and reads no clock but to stamp append times through the
// one given.
//
//   controller.Execute([&](const Image& image) { return DecideDeleteTopic(image, request); },
//                      [](Status status) { ... });   // after commit
#pragma once

#include <vector>

#include "broker/controller/decide.h"
#include "broker/controller/decision_log.h"
#include "broker/controller/image.h"
#include "raft/ports/group.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// Where an image is other than it was.
struct ImageChange {
  bool is_whole = false;  // all of it may be: it was restored
  TopicId topic;          // else the topic that a record made, changed or removed; 0: none
  std::vector<RaftGroupId> removed;  // that topic's groups, if it was removed
};

class Controller final : public raft::StateMachine {
 public:
  using Decisions = DecisionLog<Image, internal::v1::ControllerRecords>;
  // Called for each record of an entry once image() has all of them, once for an entry without, and
  // after each restore.
  using Listener = MoveFunction<void(const ImageChange&)>;

  explicit Controller(const Clock& clock)
      : clock_(&clock),
        decisions_(
            image_,
            [this](const auto& image, const auto& records) { return Propose(image, records); },
            [this](auto done) { raft_->ReadBarrier(std::move(done)); }) {}

  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // Told of every change of leadership, after the controller itself.
  void SetLeadershipListener(MoveFunction<void(const raft::Leadership&)> listener) {
    leadership_listener_ = std::move(listener);
  }

  // As applied here; any broker's.
  const Image& image() const { return image_; }
  bool is_ready() const { return leadership_.is_ready; }
  const raft::Leadership& leadership() const { return leadership_; }

  // DecisionLog::Execute; UNAVAILABLE (NOT_LEADER) also where this broker does not lead.
  void Execute(Decisions::Decide decide, Decisions::Done done);

  void Attach(raft::Group& group) override { raft_ = &group; }
  Status Restore(Bytes state) override;
  Status Apply(const raft::core::Entry& entry) override;
  raft::StateEncoder TakeSnapshot() const override;
  Offset next_offset() const override { return Offset(); }
  Offset log_start() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return last_append_time_ms_; }
  void OnLeadership(const raft::Leadership& leadership) override;

 private:
  Result<LogIndex> Propose(const Image& image, const internal::v1::ControllerRecords& records);
  // What each of the records changed.
  Result<std::vector<ImageChange>> ApplyRecords(const Bytes& payload);
  ImageChange ChangeBy(const internal::v1::ControllerRecord& record) const;

  raft::Group* raft_ = nullptr;  // null where this broker is none of the controllers
  const Clock* clock_;
  Listener listener_;
  MoveFunction<void(const raft::Leadership&)> leadership_listener_;
  Image image_;
  int64_t last_append_time_ms_ = 0;
  bool was_restored_ = false;  // from a snapshot, in this process's life
  Decisions decisions_;
  raft::Leadership leadership_;
};

}  // namespace millrace::broker

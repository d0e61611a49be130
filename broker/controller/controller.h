// The controller's state machine: the image as applied, the speculative image that decisions are
// made on while this broker leads the controller group, and the requests that wait for their
// records to commit.
//
// Every broker that votes in the controller group has one; only the leader's decides. On the
// shard's thread. It writes no log lines and reads no clock but to stamp append times through the
// one given.
//
//   controller.Execute([&](const Image& image) { return DecideDeleteTopic(image, request); },
//                      [](Status status) { ... });   // after commit
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "broker/controller/decide.h"
#include "broker/controller/image.h"
#include "raft/ports/group.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

// Where an image is other than it was.
struct ImageChange {
  bool is_whole = false;             // all of it may be: it was restored
  TopicId topic;                     // else the topic that a record made or removed; 0: none
  std::vector<RaftGroupId> removed;  // that topic's groups, if it was removed
};

class Controller final : public raft::StateMachine {
 public:
  using Decide = MoveFunction<Decision(const Image&)>;
  using Done = MoveFunction<void(Status)>;
  // Called for each record of an entry once image() has all of them, once for an entry without, and
  // after each restore.
  using Listener = MoveFunction<void(const ImageChange&)>;

  explicit Controller(const Clock& clock) : clock_(&clock) {}

  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // Told of every change of leadership, after the controller itself.
  void SetLeadershipListener(MoveFunction<void(const raft::Leadership&)> listener) {
    leadership_listener_ = std::move(listener);
  }

  // As applied here; any broker's.
  const Image& image() const { return image_; }
  bool is_ready() const { return leadership_.is_ready; }
  const raft::Leadership& leadership() const { return leadership_; }

  // Decides on the speculative image and replicates the records. `done` gets the decision's error,
  // or ok once they are applied, or UNAVAILABLE if leadership was lost first (the fate is then
  // unknown).
  void Execute(Decide decide, Done done);

  void Attach(raft::Group& group) override { raft_ = &group; }
  Status Restore(Bytes state) override;
  Status Apply(const raft::core::Entry& entry) override;
  Bytes Snapshot() const override;
  Offset next_offset() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return last_append_time_ms_; }
  void OnLeadership(const raft::Leadership& leadership) override;

 private:
  // What each of the records changed.
  Result<std::vector<ImageChange>> ApplyRecords(const Bytes& payload);
  ImageChange ChangeBy(const internal::v1::ControllerRecord& record) const;

  struct Pending {
    LogIndex index;
    std::vector<Done> waiting;
  };

  raft::Group* raft_ = nullptr;  // null where this broker is none of the controllers
  const Clock* clock_;
  Listener listener_;
  MoveFunction<void(const raft::Leadership&)> leadership_listener_;
  Image image_;
  int64_t last_append_time_ms_ = 0;
  bool was_restored_ = false;  // from a snapshot, in this process's life
  // Applied plus in flight; only while ready to lead.
  std::optional<Image> speculative_;
  std::deque<Pending> pending_;
  raft::Leadership leadership_;
};

}  // namespace millrace::broker

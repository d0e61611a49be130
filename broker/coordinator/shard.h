// A shard of the coordinator: the state machine of one partition of `__coordinator`. Decides, as
// leader, what its groups and transactional ids are asked for, and answers once that is applied
// (docs/adr/0017).
//
//   Execute -> decide on what is applied -> records of a turn in one entry ... Apply -> answer
//
// A decision that is taken alone waits for the one before of its key; those that waited are decided
// together, each on what the ones before it change. Nothing but the key's own is held up by it, and
// no copy of the state as it will be is kept: the state is large, and keys do not depend on each
// other.
//
// A StateMachine of its Raft group; owned by ReplicaSet, on the shard's thread. No gRPC, no log
// lines; the clock stamps append times, and says how long transactions are open.
//
//   shard.Execute({.key = group, .decide = [&](const ShardState& state) { ... }, .done = ...});
//   shard.Confirm([&](Status confirmed) { ... shard.state() ... });
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/controller/image.h"
#include "broker/controller/pending_answers.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/shard_state.h"
#include "broker/coordinator/transaction_times.h"
#include "raft/ports/group.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class CoordinatorShard final : public raft::StateMachine {
 public:
  using Records = internal::v1::CoordinatorRecords;
  using Decide = MoveFunction<Result<Records>(const ShardState&)>;
  using Done = PendingAnswers::Done;
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    const Image& image;
    CoordinatorMemory& memory;
  };
  // What decisions are about. Two kinds may have one name. What a producer staged is decided by
  // none that is taken alone.
  enum class KeyKind : uint8_t { kGroup, kTransactionalId, kProducer };
  // What an entry has changed that somebody beside those who asked for it acts on, by name.
  struct Changes {
    std::set<std::string> transactional_ids;
    // Groups in which it is known now what counts of what was staged.
    std::set<std::string> released;
    // Groups in which a producer is to be fenced.
    std::set<std::string> fencing;
    bool empty() const { return transactional_ids.empty() && released.empty() && fencing.empty(); }
  };
  struct Request {
    KeyKind kind = KeyKind::kGroup;
    std::string key;  // its name
    // Whether no other decision of the key may be in flight, or only none that is.
    bool is_alone = true;
    uint64_t bytes = 0;  // what it holds while it waits
    // The records, none if nothing changes, or the error.
    Decide decide;
    // The decision's error, or ok once its records are applied; UNAVAILABLE (NOT_LEADER) if
    // leadership is lost or cannot be confirmed, and the fate is then unknown; RESOURCE_EXHAUSTED
    // (THROTTLED) if too many wait for the key.
    Done done;
  };

  CoordinatorShard(RaftGroupId group, const Environment& environment);
  ~CoordinatorShard() override;

  RaftGroupId group() const { return group_; }
  // As applied here; any replica's.
  const ShardState& state() const { return state_; }
  bool is_ready() const { return answers_.is_ready(); }
  const raft::Leadership& leadership() const { return leadership_; }

  void Execute(Request request);
  // The same of several that are about one key: where those before change something, the others are
  // decided on that, in the same entry.
  void Execute(std::deque<Request> requests);
  // `done` with ok once state() is as new as anything that was answered before this call, by
  // whichever leader. One barrier serves all that come in a turn.
  void Confirm(Done done);
  // As leader: forgets what nobody needs any more, and aborts transactions that are open for too
  // long, a part at a time. To be called each second; `wall_ms`: none while this broker's wall
  // clock is in doubt.
  void Tend(std::optional<int64_t> wall_ms);
  // After which a segment is ended: a state is not written more often than as much is logged.
  uint64_t segment_bytes() const;

  // Told of every change, after the shard itself.
  void SetLeadershipListener(MoveFunction<void(const raft::Leadership&)> listener) {
    listener_ = std::move(listener);
  }

  // Told of what an entry changed, after all who asked for it are answered.
  void SetChangeListener(MoveFunction<void(const Changes&)> listener) {
    change_listener_ = std::move(listener);
  }

  void Attach(raft::Group& group) override { raft_ = &group; }
  Status Restore(Bytes state) override;
  Status Apply(const raft::core::Entry& entry) override;
  raft::StateEncoder TakeSnapshot() const override;
  Offset next_offset() const override { return Offset(); }
  Offset log_start() const override { return Offset(); }
  int64_t last_append_time_ms() const override { return last_append_time_ms_; }
  void OnLeadership(const raft::Leadership& leadership) override;

 private:
  using KeyName = std::pair<KeyKind, std::string>;
  struct Key {
    bool is_deciding = false;  // a decision that is taken alone is in flight
    std::deque<Request> waiting;
    uint64_t bytes = 0;
  };
  struct Answer {
    Status status;
    Done done;
  };
  // What is proposed at the end of the turn.
  struct Batch {
    Records records;
    uint64_t bytes = 0;
    std::vector<Answer> answers;
    uint8_t level = kCoordinatorLevel;  // that has all of them
  };

  void Wait(Key* key, Request request);
  // All of one key, of which no decision that is taken alone is in flight.
  void DecideTogether(std::deque<Request> requests);
  void Release(const KeyName& key);
  void Propose(Records records, std::vector<Answer> answers);
  void Flush();
  void FailBatch(const Status& why);
  Status ApplyRecords(const Bytes& payload, const ShardState::Place& place, Changes* changes);
  Status ApplyRecord(const internal::v1::CoordinatorRecord& record, const ShardState::Place& place,
                     Changes* changes);
  void TendTransactions(std::optional<int64_t> wall_ms);
  // What the leader decides by itself about a transactional id.
  void Look(const std::string& id, Decide decide);

  const RaftGroupId group_;
  Environment environment_;
  raft::Group* raft_ = nullptr;  // null before Attach
  ShardState state_;
  LogIndex applied_;
  int64_t last_append_time_ms_ = 0;
  raft::Leadership leadership_;
  MoveFunction<void(const raft::Leadership&)> listener_;
  MoveFunction<void(const Changes&)> change_listener_;
  std::map<KeyName, Key> keys_;  // that have a decision in flight
  Batch batch_;
  bool is_flush_posted_ = false;
  std::vector<Done> unconfirmed_;  // wait for this turn's barrier
  ShardState::Cursor swept_;
  bool is_sweeping_ = false;
  TransactionTimes times_;
  TransactionTable::Cursor looked_at_unused_;
  PendingAnswers answers_;
  Lifetime lifetime_;
};

}  // namespace millrace::broker

// What members of groups ask where their shard is led here, and what a leader alone knows of them:
// who was heard of when, who waits for news, which targets are due. Nothing of it is in the log, so
// that a new leader gives every member its full time again, and so does one that was stopped
// itself. A member is heard of by what it says itself (MemberRequest.is_silent), not by requests
// that its broker makes for news.
//
//   Ask:   decide (broker/coordinator/member_requests.h) -> answer, or wait for another assignment
//   tick:  who is silent, or does not give up what it is to, is taken out
//   change of members or topics: 50 ms later a target is computed, on another thread
//
// Owned by the Node, on the shard's thread; no clock but the injected one. `done` is called once,
// unless Stop comes before.
//
//   members.Ask(shard, request, [](Result<internal::v1::MemberReply> reply) { ... });
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "broker/controller/image.h"
#include "broker/coordinator/coordinator_memory.h"
#include "broker/coordinator/shard.h"
#include "millrace/internal/v1/coordinator.pb.h"
#include "proto/base/ids.h"
#include "proto/base/status.h"
#include "raft/ports/state_machine.h"
#include "raft/runtime/clock.h"
#include "raft/runtime/executor.h"
#include "raft/runtime/lifetime.h"
#include "raft/runtime/task.h"

namespace millrace::broker {

class MemberServer {
 public:
  using Target = internal::v1::TargetComputed;
  using Done = MoveFunction<void(Result<internal::v1::MemberReply>)>;
  // All outlive this.
  struct Environment {
    Executor& executor;
    const Clock& clock;
    const Image& image;
    const CoordinatorMemory& memory;
    // Null if this broker has no replica of it.
    std::function<CoordinatorShard*(RaftGroupId)> find_shard;
    std::function<Status(RaftGroupId)> not_leader;
    // Does the work where nobody waits for it, and calls back with what came of it.
    std::function<void(MoveFunction<Target()> work, MoveFunction<void(Target)> done)> aside;
  };

  explicit MemberServer(Environment environment);
  MemberServer(const MemberServer&) = delete;
  MemberServer& operator=(const MemberServer&) = delete;
  ~MemberServer();

  void Stop();

  // Pre: CheckMember; the shard has the group.
  void Ask(RaftGroupId shard, const internal::v1::MemberRequest& request, Done done);
  void OnLeadership(RaftGroupId shard, const raft::Leadership& leadership);
  // What nobody was given because of a transaction may be given now.
  void OnReleased(RaftGroupId shard, const std::set<std::string>& groups);
  // By name; none of a shard that is not led here.
  std::vector<std::string> GroupsWithMembers(RaftGroupId shard) const;

 private:
  // Waits for another assignment than it knows.
  struct Waiting {
    internal::v1::MemberRequest request;
    Done done;
    MonotonicTime until{};
  };
  struct LiveMember {
    MonotonicTime heard{};
    bool is_broken = false;  // its stream
    bool is_going = false;   // a decision to take it out is on its way
    uint64_t session = 0;
    uint64_t sequence = 0;
    // What it is to give up first, and since when.
    Assignment revoking;
    MonotonicTime revoking_since{};
    std::optional<Waiting> waiting;
  };
  struct LiveGroup {
    std::map<std::string, LiveMember> members;
    LogIndex seen;  // the change that was looked at last
    bool is_target_due = false;
    bool is_computing = false;
  };
  // Of one term.
  struct Led {
    Term term;
    std::map<std::string, LiveGroup> groups;
  };
  // A group of the shard, as long as the term lasts.
  struct Where {
    RaftGroupId shard;
    Term term;
    std::string group;
  };

  Result<CoordinatorShard*> FindLed(RaftGroupId shard) const;
  // Null once the term is over, or the group has no members.
  LiveGroup* Find(const Where& where);
  // Of `where`, while its term lasts.
  const Group* StateOf(const Where& where) const;
  void BeginTerm(const CoordinatorShard& shard, Term term);
  void EndTerm(RaftGroupId shard);

  // Not ok: the request is older than one that was served.
  Status Hear(const internal::v1::MemberRequest& request, LiveMember* member) const;
  bool Pings(const Where& where, const std::string& member_id);
  void OnDecided(const Where& where, const internal::v1::MemberRequest& request, Done done);
  Result<internal::v1::MemberReply> Answer(const Where& where,
                                           const internal::v1::MemberRequest& request) const;
  void StopWaiting(const Where& where, LiveMember* member);
  // What there is to do after its members changed.
  void Look(const Where& where);
  // Gives what may be given by now.
  void AdvanceMembers(const Where& where);
  void LookAtMembers(const Where& where, const Membership& membership, LiveGroup* live);
  void TargetIsDue(const Where& where, Duration delay);
  void ComputeTarget(const Where& where);
  void OnTarget(const Where& where, uint32_t group_epoch, const Target& target);

  void ScheduleTick();
  void Tick();
  void TickGroup(const Where& where, LiveGroup* live);
  void TakeOut(const Where& where, const std::string& member_id, v1::GroupEventKind reason);
  // Whoever could not be heard in time, as this broker stood still, has its full time again.
  // `since_last`: tick.
  void GiveTimeBack(const Where& where, Duration since_last, LiveGroup* live);

  Environment environment_;
  std::map<RaftGroupId, Led> led_;
  bool is_ticking_ = false;
  MonotonicTime last_tick_{};
  LogIndex image_index_;  // of the image that targets rest on
  Lifetime lifetime_;
};

}  // namespace millrace::broker
